"""The pipeline on a real Slurm of two nodes, and what goes wrong on clusters. Every wait has an end."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project, copy_project
from slurm import Slurm

from conftest import Call

LONG = """
  L:
    description: Long enough to be interrupted
    changes: {epochs: 40000, early_stopping: null, optimizer: {name: sgd, learning_rate: 0.001}}
claims:"""

LATE = """
import subprocess
import sys

_replace = Path.replace


def _later(path, target):
    if not str(target).endswith("predictions.parquet"):
        return _replace(path, target)
    kept = f"{path}.late"
    os.link(path, kept)
    code = "import os, sys, time; time.sleep(6); os.replace(*sys.argv[1:])"
    subprocess.Popen([sys.executable, "-c", code, kept, str(target)], start_new_session=True, env={})
    return target


Path.replace = _later
"""


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def jobs_since(slurm: Slurm, before: int) -> list[dict[str, str]]:
    return slurm.submissions()[before:]


def made(project: Project) -> dict[str, bytes]:
    """Tables and figures."""
    results = project.folder / "results"
    return {
        str(path.relative_to(results)): path.read_bytes()
        for kind in ("tables", "figures")
        for path in sorted((results / kind).iterdir())
    }


@pytest.mark.workflow
def test_the_paper_is_the_local_one_in_few_submissions(slurm: Slurm, project: Project, tmp_path: Path) -> None:
    """All jobs in four submissions of one core; tables and figures equal the local ones byte for byte."""
    local = copy_project(tmp_path / "local")
    before, call = len(slurm.submissions()), Call(project, "cluster", "--seconds-between-status-checks", "1")
    outcome = local.snakemake()
    assert outcome.code == 0, outcome.output
    assert call.wait(200) == 0, call.log.read_text()
    jobs = jobs_since(slurm, before)
    assert len(jobs) == 4
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["NumCPUs"] for job in jobs} == {"1"}
    assert made(project) == made(local)


def add_long_run(project: Project, pause: float) -> Path:
    """A run L in a job of its own: 1,600 epochs with a pause after each. Returns the folder of the logs of training."""
    path = project.folder / "workflow" / "studies" / "tiny.yaml"
    path.write_text(path.read_text().replace("\nclaims:", LONG, 1).replace("runs: [A, B]", "runs: [A, B, L]"))
    project.edit("src/mlpaper/study/work.py", '{"seconds": 20.0, "minute": 80.0, "minutes": 300.0}', '{"seconds": 2.5}')
    project.edit("src/mlpaper/engine/train_job.py", "_seconds: float = 30.0", "_seconds: float = 1.0")
    project.edit("src/mlpaper/study/work.py", "SLOWER = 4.0", "SLOWER = 100.0")
    called = "            after_epoch(self)\n"
    project.edit("src/mlpaper/engine/train.py", called, f"{called}            __import__('time').sleep({pause})\n")
    return project.folder / "results" / "logs" / "train"


def training(project: Project) -> str | None:
    """The Slurm job that trains the long run and has saved a checkpoint, or None."""
    if not list((project.folder / "results" / "checkpoints").glob("*.npz")):
        return None
    shown = subprocess.run(
        ["squeue", "-h", "-t", "R", "-o", "%A %N"], capture_output=True, text=True, check=True
    ).stdout
    return shown.split("\n")[0] if shown else None


def interrupted(
    slurm: Slurm, project: Project, profile: str, fault: Callable[[str, str], None], pause: float = 0.04
) -> Call:
    """Build the paper; when the long run has a checkpoint, let something happen to its job and node."""
    logs = add_long_run(project, pause)
    call = Call(project, profile, "--seconds-between-status-checks", "1")
    try:
        until(lambda: training(project) or call.process.poll() is not None, 120, "a checkpoint")
        found = training(project)
        assert found, call.log.read_text()[-3000:]
        fault(*found.split())
        assert call.wait(300) == 0, call.log.read_text()[-5000:]
    finally:
        call.process.kill()
        subprocess.run(["scancel", "-u", "root"], check=False, timeout=20)
    assert (project.folder / "results" / "paper.html").exists()
    assert any("continuing after epoch" in log.read_text() for log in logs.iterdir()), "it trained from the start"
    return call


@pytest.mark.cluster
@pytest.mark.parametrize("profile", ["cluster", "slurm"])
def test_a_cancelled_training_continues(slurm: Slurm, project: Project, profile: str) -> None:
    def cancel(job: str, node: str) -> None:
        subprocess.run(["scancel", job], check=True, timeout=20)

    interrupted(slurm, project, profile, cancel)


@pytest.mark.cluster
def test_a_dead_node_costs_only_time(slurm: Slurm, project: Project) -> None:
    """SIGKILL to the daemon of the node, and to all processes of the job: it goes on elsewhere."""
    killed = []

    def crash(job: str, node: str) -> None:
        slurm.kill_node(node)
        killed.append(node)

    try:
        interrupted(slurm, project, "cluster", crash)
    finally:
        for node in killed:
            slurm.start_node(node)
        slurm.wait_idle()


@pytest.mark.cluster
def test_a_job_over_its_time_gets_more(slurm: Slurm, project: Project) -> None:
    def shorten(job: str, node: str) -> None:
        subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=00:00:01"], check=True, timeout=20)

    before = len(slurm.submissions())
    interrupted(slurm, project, "cluster", shorten, pause=0.07)  # Slurm rounds up to a minute, and looks every half
    states = [job["JobState"] for job in jobs_since(slurm, before)]
    assert states.count("TIMEOUT") == 1


@pytest.mark.cluster
@pytest.mark.parametrize("profile", ["cluster", "slurm"])
def test_a_job_over_its_memory_gets_more(slurm: Slurm, project: Project, profile: str) -> None:
    """Asked for too little, Slurm kills it; it is submitted again with more, until that is enough."""
    project.edit("src/mlpaper/study/work.py", "500 * math.ceil(memory / 500)", "300")
    before = len(slurm.submissions())
    call = Call(project, profile, "--seconds-between-status-checks", "1")
    assert call.wait(300) == 0, call.log.read_text()[-5000:]
    states = {job["MinMemoryNode"]: job["JobState"] for job in jobs_since(slurm, before)}
    tried = [states[memory] for memory in ("300M", "600M", "900M", "1200M") if memory in states]
    assert [state == "COMPLETED" for state in tried] == [False] * (len(tried) - 1) + [True]
    assert len(tried) > 1
    assert "exceeded memory limit" in "".join(log.read_text() for log in (slurm.folder / "log").glob("slurmd.*"))


@pytest.mark.cluster
@pytest.mark.parametrize("profile", ["cluster", "slurm"])
def test_an_outage_of_the_controller(slurm: Slurm, project: Project, profile: str) -> None:
    """For 30 seconds nothing answers; then the training is cancelled: its job is still known, and is sent again."""

    def outage(job: str, node: str) -> None:
        slurm.kill_controller()
        time.sleep(30)
        slurm.start_controller()
        slurm.wait_idle(nodes=1)
        subprocess.run(["scancel", job], check=True, timeout=20)

    interrupted(slurm, project, profile, outage, pause=0.07)


@pytest.mark.cluster
def test_a_full_disk_is_named_and_the_next_call_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    """A file system of 60 MB that something else fills up: the call stops and says why; with space, it completes."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(place)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        project = copy_project(place / "project")
        call = Call(project, "cluster", "--seconds-between-status-checks", "1", "--retries", "0")
        until(lambda: (project.folder / "data").exists() or call.process.poll() is not None, 60, "a first job")
        with contextlib.suppress(OSError), (place / "filler").open("wb") as filler:
            while True:  # until there is no space left
                filler.write(bytes(1 << 16))
                filler.flush()
        assert call.wait(200) != 0
        (place / "filler").unlink()
        assert "No space left" in (log := call.log.read_text()) or "is full" in log, log[-3000:]
        call = Call(project, "cluster", "--seconds-between-status-checks", "1")
        assert call.wait(200) == 0, call.log.read_text()[-3000:]
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.cluster
def test_files_that_appear_late(slurm: Slurm, project: Project) -> None:
    """As on NFS: the job has ended, and its files can be seen only seconds later. `latency-wait` covers it."""
    files = project.folder / "src" / "mlpaper" / "files.py"
    files.write_text(files.read_text() + LATE)
    call = Call(project, "cluster", "--seconds-between-status-checks", "1", "--latency-wait", "30")
    assert call.wait(250) == 0, call.log.read_text()[-3000:]


@pytest.mark.cluster
@pytest.mark.parametrize("profile", ["cluster", "slurm"])
def test_jobs_for_a_gpu_go_to_its_partition(slurm: Slurm, project: Project, profile: str) -> None:
    """They ask for one device, however many runs share a job; here they fail, since the device is none."""
    before = len(slurm.submissions())
    arguments = ["--retries", "0", "--seconds-between-status-checks", "1"]
    if profile == "slurm":
        arguments += ["--slurm-partition-config", "profiles/slurm/partitions.yaml"]
    project.config = (*project.config, "device=gpu")
    call = Call(project, profile, *arguments)
    assert call.wait(200) != 0
    asked = {job["Partition"]: job.get("TresPerJob") for job in jobs_since(slurm, before)}
    assert asked == {"short": None, "gpu": "gres:gpu:1"}, call.log.read_text()[-3000:]
