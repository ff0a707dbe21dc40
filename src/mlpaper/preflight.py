"""Folders that are looked at before any job, since Snakemake would tell of them by a traceback, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from mlpaper.errors import StorageError
from mlpaper.files import NO_SPACE

FOLDERS = ("data", "results")
"""What the pipeline makes, in the working folder."""
ROOM = 1 << 20
"""Bytes that must be free on a disk."""


def check_folders() -> None:
    """Refuse a working folder in which a file, or a link that leads nowhere, is in the place of a folder.

    Raises
    ------
    StorageError
        The message says which, and how to mend it.
    """
    for path in map(Path, FOLDERS):
        if path.is_dir() or not os.path.lexists(path):
            continue
        if path.is_symlink():
            raise StorageError(f"{path} links to {path.readlink()}, which is no folder. Make it, or remove the link")
        raise StorageError(f"{path} is not a folder: move it away and run again")


def check_temporary() -> None:
    """Refuse a full disk of temporary files, on which Snakemake writes what it schedules.

    Raises
    ------
    StorageError
        Less than `ROOM` is free.
    """
    folder = os.environ.get("TMP", os.environ.get("TMPDIR", "/tmp"))  # as Snakemake's solver (PuLP) takes it
    if not os.access(folder, os.W_OK):
        return  # it takes the working folder
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            check_room(stream.fileno())
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        message = (
            f"the disk of {folder} is full. Free some space there, or name another folder for temporary files (TMPDIR)"
        )
        raise StorageError(message) from error


def check_room(descriptor: int) -> None:
    """Fill a file for a moment: unlike a question for free space, this meets a quota too."""
    if os.pwrite(descriptor, bytes(ROOM), 0) < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
