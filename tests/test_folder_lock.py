"""A lock whose Snakemake was killed is removed; one that may be a living Snakemake's stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlpaper import folder_lock

PLACE = Path(".snakemake")
LOCK = PLACE / "locks" / "0.output.lock"

HOLDER = """
import subprocess, sys, time
from mlpaper import folder_lock
folder_lock.hold(print)
from pathlib import Path
lock = Path(".snakemake/locks/0.output.lock")
lock.parent.mkdir(exist_ok=True)
lock.write_text("results/paper.md")
{more}
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


def holder(more: str = "") -> subprocess.Popen[str]:
    """A process that locks the folder as Snakemake does, until its input ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDER.format(more=more)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def killed() -> dict[str, Any]:
    """What a killed process left: its record."""
    kill(holder())
    return json.loads((PLACE / "mlpaper.lock").read_text())


def rewrite(record: dict[str, Any], **changes: object) -> None:
    (PLACE / "mlpaper.lock").write_text(json.dumps(record | changes))


def test_what_a_killed_process_left_is_removed_with_one_line(killed: dict[str, Any], said: list[str]) -> None:
    left = [PLACE / "mlpaper-1.runs", Path("results/runs/a/.weights.npz.x1.part"), Path("data/.images.npy.x2.part")]
    kept = [PLACE / "metadata" / "x", Path("results/runs/a/weights.npz"), Path("data/.partial/images.gz.0123")]
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder_lock.hold(said.append)
    assert len(said) == 1
    assert f"(process {killed['process']} on {killed['host']}) was killed: its lock is removed" in said[0]
    assert not any(path.exists() for path in [LOCK, *left])
    assert all(path.exists() for path in kept)


def test_a_living_process_keeps_its_lock(said: list[str]) -> None:
    first = holder()
    folder_lock.hold(said.append)
    assert LOCK.exists()
    kill(first)
    kill(holder())  # this process holds the lock too, and may have locked files
    assert LOCK.exists()
    assert said == []


def test_processes_that_it_started_do_not_keep_the_lock(said: list[str]) -> None:
    first = holder("subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL)")
    (child,) = (int(it) for it in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
    kill(first)
    folder_lock.hold(said.append)
    os.kill(child, signal.SIGKILL)  # it was there until now
    assert not LOCK.exists()


def test_after_an_orderly_end_a_lock_is_somebody_elses(said: list[str]) -> None:
    """Such as a Snakemake's with another Snakefile, or with the code of before."""
    holder().communicate("")
    folder_lock.hold(said.append)
    assert LOCK.exists()
    assert said == []


def test_a_lock_that_was_there_before_the_killed_process_stays(said: list[str]) -> None:
    LOCK.parent.mkdir(parents=True)
    LOCK.write_text("data/a")
    kill(holder("lock.with_name('1.output.lock').write_text('results/a')"))
    assert LOCK.read_text() == "results/paper.md"  # by the same name, another lock
    os.utime(LOCK)
    LOCK.with_name("2.output.lock").write_text("data/b")
    record = json.loads((PLACE / "mlpaper.lock").read_text())
    status = LOCK.with_name("2.output.lock").stat()
    rewrite(record, locks=[*record["locks"], f"2.output.lock {status.st_ino} {status.st_mtime_ns}"])
    folder_lock.hold(said.append)
    assert [path.name for path in LOCK.parent.iterdir()] == ["2.output.lock"]


def test_where_jobs_were_submitted_the_lock_stays_until_the_user_says(said: list[str]) -> None:
    kill(holder("folder_lock.jobs_run_elsewhere()"))
    folder_lock.hold(said.append)
    folder_lock.hold(said.append)
    assert LOCK.exists()
    assert "jobs that it submitted may still run" in said[0]
    assert "snakemake --unlock" in said[0]


HERE = folder_lock._here()


@pytest.mark.parametrize(
    ("changes", "file_system", "removed"),
    [
        ({}, "nfs4", True),
        ({"host": "container"}, "nfs4", True),
        ({"boot": "before the power cut"}, "nfs4", True),
        ({"boot": "another's", "host": "another"}, "nfs4", False),
        ({"boot": "another's", "machine": "another's"}, "nfs4", False),
        ({"boot": "another's", "host": "another"}, "", False),
        ({"boot": "another's", "host": "another", "machine": ""}, "ext4", True),
    ],
)
def test_another_machines_lock_stays_on_a_shared_file_system(
    changes: dict[str, str],
    file_system: str,
    removed: bool,
    killed: dict[str, Any],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folder_lock, "_file_system", lambda folder: file_system)
    monkeypatch.setattr(folder_lock, "_machine", lambda: "this machine")
    rewrite(killed, **({"machine": "this machine"} | changes))
    before = (PLACE / "mlpaper.lock").read_text()
    folder_lock.hold(said.append)
    assert LOCK.exists() != removed
    if not removed:
        assert "this machine cannot tell" in said[0]
        assert (PLACE / "mlpaper.lock").read_text() == before  # the other machine can still tell


def test_a_machine_without_an_identity_is_no_other(
    killed: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "_file_system", lambda folder: "nfs4")
    monkeypatch.setattr(folder_lock, "_machine", lambda: "")
    monkeypatch.setattr(folder_lock, "_boot", lambda: "")
    rewrite(killed, machine="", boot="")
    folder_lock.hold(said.append)
    assert LOCK.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', "\0" * 100])
def test_a_torn_record_removes_nothing(text: str, killed: dict[str, Any], said: list[str]) -> None:
    (PLACE / "mlpaper.lock").write_text(text)
    folder_lock.hold(said.append)
    assert LOCK.exists()
    assert said == []


def test_the_type_of_this_file_system_is_known() -> None:
    shown = subprocess.run(["stat", "-f", "-c", "%T", "/proc"], capture_output=True, text=True, check=True).stdout
    assert (folder_lock._file_system(Path("/proc")), shown) == ("proc", "proc\n")
    assert folder_lock._file_system(Path()) != ""
