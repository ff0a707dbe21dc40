"""After a kill the same command goes on: Snakemake's lock is removed where the Snakemake that made it is dead.

Snakemake locks the files of a run by files in `.snakemake/locks`, which outlive a `kill -9` or a power cut. So every
main process of Snakemake in a folder also holds a shared lock of the operating system (`flock`), which ends with its
process. Whoever gets that lock exclusively knows that no Snakemake is alive here.

A lock of Snakemake is removed only if all of this holds, else Snakemake decides:

- no Snakemake with this code is alive in the folder;
- the last one was killed, and the lock was made in its time: its record says which locks were there before;
- the operating system's lock can tell: the folder is on a local disk, or the killed process ran on this machine;
- its jobs ran on this machine, where they die with it (`mlpaper.job_environment.die_with_snakemake`), not on a cluster.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlpaper.errors import StorageError
from mlpaper.files import NO_SPACE, abandoned
from mlpaper.preflight import FOLDERS, check_room

FOLDER = Path(".snakemake")
LOCKS = "locks"
"""Snakemake's locks, in `FOLDER`: one file for the inputs and one for the outputs of a call."""
RECORD = "mlpaper.lock"
"""The file that is locked, in `FOLDER`. It holds the record of who holds it; it is empty where none was killed."""

LOCAL_FILE_SYSTEMS = frozenset(("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
"""Types of file systems that one machine mounts at a time, so that its own kernel knows of all locks."""


def hold(say: Callable[[str], None], folder: Path = FOLDER) -> None:
    """Hold the folder's lock until this process ends, and remove what a killed Snakemake left.

    Call it before Snakemake takes its own lock, once in a main process, and not in a dry run. Where the system cannot
    lock the file, nothing is removed.

    Parameters
    ----------
    say
        Takes a line for the user, if there is something to tell.

    Raises
    ------
    StorageError
        The disk is full, or the folder is read-only: Snakemake could not write its lock either.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / RECORD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if _alone(descriptor) and _clean(folder, _read(descriptor), say):
                check_room(descriptor)  # Snakemake's lock, its notes on files, and logs need some
                _write(descriptor, _here() | {"elsewhere": False, "locks": sorted(_locks(folder))})
                atexit.register(_release, descriptor, os.getpid())
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageError(f"the disk of {folder.resolve()} is full. Free some space and run again") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StorageError(
                f"{folder.resolve()} cannot be written to: {error.strerror}. Make it writable, or name another folder "
                "for all results: snakemake --directory FOLDER"
            ) from error


def jobs_run_elsewhere(folder: Path = FOLDER) -> None:
    """Note that jobs are submitted to other machines, where they outlive a killed Snakemake."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / RECORD, os.O_RDWR | os.O_CLOEXEC)
        try:
            if record := _read(descriptor):
                _write(descriptor, record | {"elsewhere": True})
        finally:
            os.close(descriptor)


def _alone(descriptor: int) -> bool:
    """Take the exclusive lock, if no other process holds any."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(descriptor: int, process: int) -> None:
    """At an orderly end leave nothing to clean, unless another Snakemake still runs here."""
    with contextlib.suppress(OSError):
        if os.getpid() == process and _alone(descriptor):
            _remove_unfinished()
            os.ftruncate(descriptor, 0)


def _clean(folder: Path, record: dict[str, Any] | None, say: Callable[[str], None]) -> bool:
    """Remove what a killed Snakemake left; False where its lock has to stay."""
    if record is None:
        return True
    left = {name: path for name, path in _locks(folder).items() if name not in record["locks"]}
    who = f"Snakemake (process {record['process']} on {record['host']}) was killed"
    if left and record["elsewhere"]:
        say(f"{who}; jobs that it submitted may still run. When they have ended: snakemake --unlock")
        return False
    if left and not _can_tell(folder, record):
        say(f"{who}, or still runs there: this machine cannot tell. If it has ended: snakemake --unlock")
        return False
    for path in left.values():
        path.unlink(missing_ok=True)
    for path in folder.glob("mlpaper-*.*"):  # where its servers listened
        path.unlink(missing_ok=True)
    _remove_unfinished()
    if left:
        say(f"{who}: its lock is removed, and the work goes on.")
    return True


def _locks(folder: Path) -> dict[str, Path]:
    """Snakemake's locks, by an identity: a later lock may have the name of an earlier one."""
    found = {}
    for path in (folder / LOCKS).glob("*.lock"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found[f"{path.name} {status.st_ino} {status.st_mtime_ns}"] = path
    return found


def _remove_unfinished() -> None:
    """Remove files that killed jobs had begun to write."""
    for folder in map(Path, FOLDERS):
        for path in abandoned(folder):
            path.unlink(missing_ok=True)


def _here() -> dict[str, Any]:
    return {"process": os.getpid(), "host": platform.node(), "machine": _machine(), "boot": _boot()}


def _machine() -> str:
    return _text("/etc/machine-id")


def _boot() -> str:
    """Names the time since this kernel was started; containers on a machine share it."""
    return _text("/proc/sys/kernel/random/boot_id")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _can_tell(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a process that holds the lock would have kept this one from it.

    Locks on shared file systems may not reach other machines. The same machine after a restart has none of before.
    """
    here = _here()
    same_kernel = here["boot"] and here["boot"] == record["boot"]
    same_machine = here["machine"] and all(here[name] == record[name] for name in ("machine", "host"))
    return bool(same_kernel or same_machine or _file_system(folder) in LOCAL_FILE_SYSTEMS)


def _file_system(folder: Path) -> str:
    """The type of the file system of a folder, as Linux names it; empty where it is not known."""
    number = folder.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    for line in _text("/proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == device:
            return source.split()[0]
    return ""


def _read(descriptor: int) -> dict[str, Any] | None:
    """The record; None where there is none, or only a part of one, written as the power was cut."""
    try:
        record = json.loads(os.pread(descriptor, 1 << 20, 0))
    except ValueError:
        return None
    names = {"process", "host", "machine", "boot", "elsewhere", "locks"}
    return record if isinstance(record, dict) and record.keys() == names else None


def _write(descriptor: int, record: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode(), 0)
    os.fsync(descriptor)
