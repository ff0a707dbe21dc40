"""Kills, full disks, read-only folders, no memory, no network: a clear error, and the same call goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kills
import pytest
from project import ROOT, Project

from mlpaper.data.catalog import load
from mlpaper.data.sources import Sources
from mlpaper.spec import canonical_json

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

FIGURE = "results/figures/tiny-a-confusion"
RUN = "results/runs/digits-8-adam-s0-f5bd2bd7"
TMPFS = 'folder=$1 size=$2; shift 2; mkdir -p "$folder"; mount -t tmpfs -o size="$size" tmpfs "$folder"; '
READ_ONLY = (
    'folder=$1; shift; mkdir -p "$folder"; mount --bind "$folder" "$folder"; mount -o remount,bind,ro "$folder"; '
)
COMMAND = 'cd "$PWD"; "$@"; code=$?; echo; echo "left: $(cd "$folder"; find . -type f | tr "\\n" " ")"; exit $code'


def apart(*options: str) -> list[str]:
    """The beginning of a command in namespaces of its own, as this user can make them; else the test is skipped."""
    for more in ((), ("--map-root-user",)):
        command = ["unshare", *more, *options]
        probe = [*command, "true"] if "--mount" not in options else [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip(f"this user may not make namespaces here (unshare {' '.join(options)})")


def in_mount(script: str, *arguments: str) -> list[str]:
    """The beginning of a command that sees a mount of its own, and tells at its end what files are left there."""
    return [*apart("--mount"), "bash", "-c", script + COMMAND, "bash", *arguments]


def ran(command: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    """The exit code of a command, and what it says in one line."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


def call(project: Project, *arguments: str, before: list[str] | None = None, **variables: str) -> tuple[int, str]:
    """Snakemake as users call it; its exit code, and what it says in one line."""
    command = [*(before or []), sys.executable, "-m", "snakemake", "--cores", "2", "--config", *project.config]
    return ran([*command, *arguments], project.folder, PYTHONDONTWRITEBYTECODE="1", COLUMNS="300", **variables)


def completes(project: Project, expected: dict[str, str], *targets: str) -> None:
    """The same call ends well, with the same files."""
    code, said = call(project, *(["--", *targets] if targets else []))
    assert code == 0, said
    found = kills.fingerprint(project.folder)
    assert [name for name in found if found[name] != expected.get(name)] == []
    assert set(targets or expected) <= set(found)


@pytest.fixture
def expected(built: Project) -> dict[str, str]:
    return kills.fingerprint(built.folder)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_after_random_kills_the_same_call_makes_the_same(tmp_path: Path) -> None:
    """A few of the trials of `kills.py`."""
    trials = kills.run(tmp_path / "project", kills=6, seed=0)
    assert trials.faults == []


def test_two_in_a_folder_are_refused_and_after_a_kill_the_next_goes_on(
    built: Project, expected: dict[str, str]
) -> None:
    """Also in a folder that the first one's jobs would still write to."""
    shutil.rmtree(built.folder / "results" / "runs")
    first = kills.start(built.folder)
    until(lambda: kills.victims(first, built.folder).get("shell"))
    (server, *_) = kills.victims(first, built.folder)["server"]
    os.kill(server, signal.SIGSTOP)  # its jobs wait
    try:
        code, said = call(built)
        assert code != 0
        assert "Directory cannot be locked" in said
        assert "was killed" not in said
        assert first.poll() is None
        first.kill()
        first.wait()
    finally:
        os.kill(server, signal.SIGCONT)
    code, said = call(built, "--dry-run")
    assert "was killed" not in said  # a dry run changes nothing
    code, said = call(built)
    assert code == 0, said
    assert said.count("was killed: its lock is removed, and the work goes on.") == 1
    completes(built, expected)
    assert not list(kills.processes(built.folder))


@pytest.mark.parametrize(
    ("folder", "size", "target", "told"),
    [
        ("data", "64k", "data/digits/meta.json", "the disk of data/digits is full: images.npy was not written"),
        ("results/runs", "8k", f"{RUN}/run.json", f"the disk of {RUN} is full: weights.npz was not"),
        ("results/figures", "12k", f"{FIGURE}.svg", "the disk of results/figures is full"),
        (".snakemake", "256k", "results/paper.md", "/.snakemake is full. Free some space and run again"),
    ],
)
def test_a_full_disk_is_told_and_with_room_the_same_call_goes_on(
    folder: str, size: str, target: str, told: str, built: Project, expected: dict[str, str]
) -> None:
    """No output is there that others take for whole: of several files the last one is missing."""
    shutil.rmtree(built.folder / folder)
    code, said = call(built, "--", target, before=in_mount(TMPFS, folder, size))
    assert code != 0
    assert told in said, said
    assert "Free some space and run again" in said
    assert not any(name in said.rpartition("left:")[2] for name in (".part", "meta.json", "run.json", "confusion.json"))
    completes(built, expected, target)


def test_folders_with_which_no_job_could_work_are_told_before_any(project: Project, tmp_path: Path) -> None:
    """Also in a dry run, but for the disk of temporary files, which that does not need."""
    code, said = call(project, before=in_mount(TMPFS, "small", "64k"), TMPDIR=str(project.folder / "small"))
    assert code != 0
    assert f"the disk of {project.folder / 'small'} is full. Free some space there" in said
    code, said = call(project, "--dry-run", MLPAPER_RUN_STORE=str(project.folder / "config.yaml"))
    assert code != 0
    assert "config.yaml is not a folder; name one, or unset the variable" in said
    (project.folder / "results").symlink_to("nowhere")
    code, said = call(project, "--dry-run")
    assert code != 0
    assert "results links to nowhere, which is no folder" in said


def test_figures_and_tables_that_were_deleted_are_made_again(built: Project, expected: dict[str, str]) -> None:
    """The paper in Markdown and in LaTeX shows them. What only they were made from may be missing."""
    results = built.folder / "results"
    (results / "tables" / "tiny-curves.tex").unlink()
    (built.folder / FIGURE).with_suffix(".pdf").unlink()
    assert built.plan() == {"figure": 1, "table": 1, "paper": 3}
    completes(built, expected)
    (built.folder / RUN / "history.parquet").unlink()
    assert built.plan() == {}


def test_a_disk_that_fills_at_the_split_is_told(built: Project) -> None:
    (split,) = (built.folder / "data" / "digits").glob("split-*.npz")
    job = next(path for path in (built.folder / "results" / "jobs").iterdir() if '"scheme"' in path.read_text())
    arguments = ["split", "--spec", str(job), "--pool", str(split.parent), "--output", "small/split.npz"]
    code, said = command(built.folder, in_mount(TMPFS, "small", "8k"), *arguments)
    assert code == 1
    assert "the disk of small is full: split.npz was not written. Free some space and run again" in said
    assert said.endswith("left:")


@pytest.fixture
def served(mirror: Path) -> Iterator[str]:
    """The official files by HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(mirror))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("by", ["folder", "http"])
def test_a_disk_that_fills_while_downloading_is_told(by: str, mirror: Path, served: str, tmp_path: Path) -> None:
    """What has arrived over the network stays, to be resumed, in a folder that is not taken for the data."""
    source = served if by == "http" else str(mirror)
    sources = Sources(datasets={"mnist": load(ROOT / "workflow" / "datasets" / "mnist.yaml", ROOT)})
    (tmp_path / "sources.json").write_text(canonical_json(sources))
    arguments = ["fetch", "--job", "sources.json", "--dataset", "mnist", "--file", "test-images.gz"]
    arguments += ["--folder", "raw", "--mirror", source]
    code, said = command(tmp_path, in_mount(TMPFS, "raw", "512k"), *arguments)
    assert code == 1
    assert "is full: test-images.gz was not written. Free some space and run again" in said
    left = said.rpartition("left:")[2].split()
    assert all(path.startswith("./.partial/t10k-images") for path in left)
    assert command(tmp_path, [], *arguments)[0] == 0
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["test-images.gz", "test-images.gz.json"]


def command(folder: Path, before: list[str], *arguments: str) -> tuple[int, str]:
    """`mlpaper` as it is called by hand; its exit code, and what it says in one line."""
    return ran([*before, sys.executable, "-m", "mlpaper", *arguments], folder, PYTHONPATH=str(ROOT / "src"))


@pytest.mark.parametrize(
    ("folder", "made", "rule", "told"),
    [
        (".snakemake", "", "figure", "/.snakemake cannot be written to: Read-only file system. Make it writable"),
        ("results", "", "figure", f"Write-protected output files for rule figure: output: {FIGURE}.svg"),
        ("data/digits", "", "prepare", "Write-protected output files for rule"),  # one of several
        ("results/runs", RUN, "train", f"Failed to create output directory {RUN}. OSError: [Errno 30] Read-only"),
        (
            "results/jobs",
            "",
            "figure",
            "results/jobs/.writable cannot be written: Read-only file system. Make its folder",
        ),
    ],
)
def test_a_read_only_folder_is_told_and_changes_nothing(
    folder: str, made: str, rule: str, told: str, built: Project, expected: dict[str, str]
) -> None:
    """Snakemake tells of outputs, and this project of the rest."""
    if made:
        shutil.rmtree(built.folder / made)
    target = f"{FIGURE}.svg"
    code, said = call(built, "--forcerun", rule, "--", target, before=in_mount(READ_ONLY, folder))
    assert code != 0
    assert told in said, said
    found = kills.fingerprint(built.folder)
    assert [name for name in found if found[name] != expected[name]] == []
    completes(built, expected, target)


def test_where_memory_runs_out_a_job_tells_and_leaves_nothing(built: Project) -> None:
    """Here a limit of the address space, 64 MB above what is loaded; the network needs more."""
    spec = next(path for path in (built.folder / "results" / "jobs").iterdir() if '"hidden":[8]' in path.read_text())
    wide = built.folder / "wide.json"
    wide.write_text(spec.read_text().replace('"hidden":[8]', '"hidden":[4000,4000]'))
    assert "4000" in wide.read_text()
    (split,) = (built.folder / "data" / "digits").glob("split-*.npz")
    arguments = ["train", "--spec", str(wide), "--pool", "data/digits", "--split", str(split), "--folder", "run"]
    code = (
        "import resource, sys; from mlpaper.server import PRELOADED; from mlpaper.cli import main; import importlib\n"
        "[importlib.import_module(name) for name in PRELOADED['runs']]\n"
        "import mlpaper.engine.compiled; mlpaper.engine.compiled.compile_ahead()\n"
        "loaded = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (loaded + (64 << 20),) * 2)\n"
        f"sys.argv = ['mlpaper', *{[*arguments, '--checkpoint', 'saved.npz', '--device', 'cpu']!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=built.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mlpaper: memory ran out (Unable to allocate" in done.stderr
    assert "run fewer jobs at a time (--cores)" in done.stderr
    assert not (built.folder / "run").exists()


def test_a_job_that_the_system_kills_for_memory_is_told_and_the_same_call_goes_on(
    built: Project, expected: dict[str, str]
) -> None:
    """Linux's killer sends SIGKILL; here the job sends it to itself, in the middle of its output."""
    shutil.rmtree(built.folder / "results" / "runs")
    line = 'write_json(folder / "spec.json"'
    built.edit("src/mlpaper/engine/train_job.py", line, f"__import__('os').kill(__import__('os').getpid(), 9); {line}")
    code, said = call(built)
    assert code != 0
    assert "this job was killed (signal 9); most often memory ran out: run fewer jobs at a time (--cores)" in said
    assert not [path for path in (built.folder / "results" / "runs").rglob("*") if path.is_file()]
    shutil.copy(ROOT / "src/mlpaper/engine/train_job.py", built.folder / "src/mlpaper/engine/train_job.py")
    completes(built, expected)


@pytest.mark.parametrize("torn", [False, True])
def test_results_without_the_notes_of_snakemake_are_kept_as_they_are(
    torn: bool, built: Project, expected: dict[str, str]
) -> None:
    """As they come from another machine, with their times; or after a power cut, which tore what Snakemake noted."""
    if torn:
        for note in sorted(path for path in (built.folder / ".snakemake" / "metadata").rglob("*") if path.is_file())[
            ::2
        ]:
            note.write_bytes(note.read_bytes()[:100])
    else:
        shutil.rmtree(built.folder / ".snakemake")
    code, said = call(built)
    assert (code, "Nothing to be done" in said) == (0, True), said
    completes(built, expected)


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_times_in_disorder_cost_time_only(step: int, built: Project, expected: dict[str, str]) -> None:
    """A clock that jumps between two jobs, or a copy without times: jobs may run again, to the same end."""
    files = sorted(path for path in (built.folder / "results" / "runs").rglob("*") if path.is_file())
    for path in files[::2]:
        when = path.stat().st_mtime + step
        os.utime(path, (when, when))
    completes(built, expected)
    code, said = call(built)
    assert (code, "Nothing to be done" in said) == (0, True), said


def test_a_half_installed_package_is_told_and_harms_nothing(built: Project, expected: dict[str, str]) -> None:
    """An upgrade that was interrupted: one module is cut off, one is missing."""
    module, missing = (built.folder / "src" / "mlpaper" / name for name in ("paper/jobs.py", "study/stats.py"))
    text, other = module.read_text(), missing.read_text()
    module.write_text(text[: len(text) // 2] + "\n(")
    code, said = call(built)
    assert code != 0
    assert "paper/jobs.py" in said
    module.write_text(text)
    missing.unlink()
    code, said = call(built)
    assert code != 0
    assert "mlpaper.study.stats" in said
    missing.write_text(other)
    assert kills.fingerprint(built.folder) == expected
    code, said = call(built)
    assert (code, "Nothing to be done" in said) == (0, True), said


def test_everything_is_made_without_a_network(project: Project) -> None:
    code, said = call(project, before=apart("--net"))
    assert code == 0, said
    assert (project.folder / "results" / "paper.html").exists()
