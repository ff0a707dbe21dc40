"""Jobs started by a server end as they do without one: output, exit codes, kills, and no server at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mlpaper.job_environment import shell_prefix
from mlpaper.job_files import JobFiles
from mlpaper.server import Servers, open_servers
from mlpaper.spec import RunSpec

PLACE = Path("servers") / "here"
LONG = {"dataset": {"name": "digits"}, "network": {"hidden": [8]}, "epochs": 1_000_000}

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="servers need Linux")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.chdir(tmp_path)
    opened = open_servers(PLACE, {})
    yield opened
    for server in opened.processes:
        server.kill()  # its jobs die with it: a test that fails leaves none
    opened.close()
    assert {process.returncode for process in opened.processes} <= {0, -signal.SIGKILL}, "a server failed"


def shell(command: str, place: Path = PLACE, **variables: str) -> subprocess.Popen[str]:
    """A job as Snakemake starts it."""
    text = shell_prefix(place, {}).replace("{{", "{").replace("}}", "}") + command
    pipe = subprocess.PIPE
    environment = os.environ | variables
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background have it ignored
    return subprocess.Popen(["bash", "-c", text], stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=heed)


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(servers: Servers) -> tuple[int, int]:
    """The server that has a job, and the job's process, once there is one: else the tests would prove nothing."""
    until(lambda: any(children(server.pid) for server in servers.processes))
    ((server, child),) = ((it.pid, children(it.pid)[0]) for it in servers.processes if children(it.pid))
    return server, child


def train(digits: Path) -> str:
    """A command that trains until it is killed."""
    jobs = JobFiles()
    spec = jobs.add(RunSpec.model_validate(LONG))
    jobs.write()
    return f"mlpaper train --spec {spec} --folder run --pool {digits} --split {digits}/split.npz --checkpoint saved.npz"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("mlpaper --threads 1 prepare --help", 0),
        ("mlpaper prepare", 2),
        ("mlpaper judge --job 'no such file' --output x.parquet", 1),
        ("cd / && mlpaper prepare --help > /dev/null", 0),
    ],
)
def test_a_job_ends_as_it_does_without_a_server(command: str, code: int, servers: Servers) -> None:
    served = outcome(shell(command))
    assert served == outcome(shell(command, place=Path("nowhere")))
    assert served[0] == code


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_dies_with_its_client(how: signal.Signals, servers: Servers, digits: Path) -> None:
    job = shell(train(digits))
    server, _ = running(servers)
    (client,) = children(job.pid)
    os.kill(client, how)
    until(lambda: not children(server))
    assert outcome(job)[0] != 0
    assert outcome(shell("mlpaper prepare --help"))[0] == 0


def test_ctrl_c_ends_a_job_without_a_traceback(servers: Servers, digits: Path) -> None:
    job = shell(train(digits))
    server, _ = running(servers)
    (client,) = children(job.pid)
    os.kill(client, signal.SIGINT)
    until(lambda: not children(server))
    assert outcome(job) == (128 + signal.SIGINT, "", "")


def test_a_job_that_is_killed_fails(servers: Servers, digits: Path) -> None:
    job = shell(train(digits))
    _, child = running(servers)
    os.kill(child, signal.SIGKILL)
    code, _, errors = outcome(job)
    assert code == 128 + signal.SIGKILL
    assert "this job was killed (signal 9); most often memory ran out" in errors


@pytest.mark.parametrize("place", [PLACE, Path("nowhere")])
def test_a_job_dies_with_the_process_that_started_it(place: Path, servers: Servers, digits: Path) -> None:
    """As Snakemake by `kill -9`, while its servers and shells live: else it would write over the next one's files."""
    opener = (
        "import subprocess, sys; from pathlib import Path; from mlpaper.job_environment import shell_prefix\n"
        f"text = shell_prefix(Path({str(place)!r}), {{}}).replace('{{{{', '{{').replace('}}}}', '}}')\n"
        f"subprocess.run(['bash', '-c', text + {train(digits) + ' > log'!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", opener])
    until(lambda: Path("log").exists() and "epoch" in Path("log").read_text())
    process.kill()
    process.wait()
    until(lambda: not any(_works_here(pid) for pid in Path("/proc").iterdir() if pid.name.isdecimal()))


def _works_here(process: Path) -> bool:
    """Whether a process trains in this folder."""
    try:
        return (process / "cwd").readlink() == Path.cwd() and b"saved.npz" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_where_the_server_is_killed_its_job_fails_and_the_next_starts_by_itself(servers: Servers, digits: Path) -> None:
    job = shell(train(digits))
    server, child = running(servers)
    os.kill(server, signal.SIGKILL)
    code, _, errors = outcome(job)
    until(lambda: not _running(str(child)))
    assert (code, "the server of this job was killed" in errors) == (1, True)
    assert outcome(shell("mlpaper prepare --help"))[0] == 0


def test_a_job_and_its_client_may_end_at_once(servers: Servers, digits: Path) -> None:
    job = shell(train(digits))
    server, child = running(servers)
    (client,) = children(job.pid)
    os.kill(server, signal.SIGSTOP)  # it then sees both ends in one look
    os.kill(child, signal.SIGKILL)
    until(lambda: not _running(str(child)))
    os.kill(client, signal.SIGKILL)
    assert outcome(job)[0] != 0
    os.kill(server, signal.SIGCONT)
    until(lambda: not children(server))
    assert outcome(shell("mlpaper prepare --help"))[0] == 0


def test_servers_end_with_whoever_opened_them(tmp_path: Path) -> None:
    opener = (
        "import os, signal, time; from pathlib import Path; from mlpaper.server import open_servers\n"
        "print(*(it.pid for it in open_servers(Path('s'), {}).processes), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", opener], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
    until(lambda: not any(Path(f"/proc/{pid}/fd").exists() and _running(pid) for pid in done.stdout.split()))
    assert not list(tmp_path.glob("s.*"))


def _running(pid: str) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_strange_requests_harm_nobody(servers: Servers) -> None:
    for request in (b"", b"x", b"\0" * 8, b"\xff" * 4096):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(f"{PLACE}.runs")
            stranger.sendall(request)
    assert outcome(shell("mlpaper prepare --help"))[0] == 0


@pytest.mark.parametrize("place", [PLACE, Path("nowhere")])
def test_jobs_do_not_see_what_a_shell_sets_for_other_programs(place: Path, servers: Servers, tmp_path: Path) -> None:
    """A backend of matplotlib as notebooks set it, modules that shadow ours, and numba without its compiler."""
    (tmp_path / "other").mkdir()
    for module in ("mlpaper", "numpy", "sitecustomize"):
        (tmp_path / "other" / f"{module}.py").write_text("raise SystemExit('not this one')")
    hostile = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "other"),
        "PYTHONSTARTUP": str(tmp_path / "other" / "numpy.py"),
        "PYTHONHOME": str(tmp_path),
        "NUMBA_DISABLE_JIT": "1",
    }
    command = "mlpaper figure --job none.json --stem x"
    assert outcome(shell(command, place, **hostile)) == outcome(shell(command, place))
    code, _, errors = outcome(shell(command, place, **hostile))
    assert (code, "none.json cannot be read" in errors) == (1, True)


def test_servers_fork_with_one_thread(servers: Servers) -> None:
    """With more, a job could wait for a lock that nobody releases; Python 3.12 warns of it on standard error."""
    assert outcome(shell("mlpaper prepare --help"))[0] == 0
    assert outcome(shell("mlpaper judge --help"))[0] == 0
    assert [len(list(Path(f"/proc/{server.pid}/task").iterdir())) for server in servers.processes] == [1, 1]
