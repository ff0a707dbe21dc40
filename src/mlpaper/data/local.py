"""Files that are already on this machine: taken into ``data/raw``, and watched for changes.

A hash in the dataset file is checked as for any download. Without one the first use fixes it, by the receipt of the
copy in ``data/raw``. All results then belong to these bytes, and another content under the same path is an error before
any job. A file that only its user can bring may be missing; runs on it are left out until it is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlpaper.data.sources import LocalFile, Source, receipt_name
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import read_json, sha256
from mlpaper.paths import raw_folder


def take_in(file: LocalFile, source: Source, target: Path) -> int:
    """Copy a file to ``target``, and return when it was last modified, in nanoseconds.

    Raises
    ------
    DataError
        It is missing, or not what the dataset file says.
    """
    path = Path(file.path)
    if not path.is_file():
        raise DataError(missing(file, source))
    modified = path.stat().st_mtime_ns
    try:
        shutil.copyfile(path, target)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    size = target.stat().st_size
    if file.bytes not in (None, size):
        raise DataError(f"{path} has {size:,} bytes; {source.name}.yaml says {file.bytes:,}")
    if file.sha256 is not None and (found := sha256(target)) != file.sha256:
        raise DataError(f"{path} is not the file of {source.name}.yaml: sha256 {found} instead of {file.sha256}")
    return modified


def missing(file: LocalFile, source: Source) -> str:
    """What to say of a file that is not there."""
    how = f" {source.instruction}" if source.instruction else f" Put it there, or mend `path` in {source.name}.yaml"
    return f"{source.title}: there is no file {file.path}.{how}"


def local_files(source: Source) -> Iterator[tuple[str, LocalFile]]:
    """The files of a dataset that are on this machine, or will be, with our names of them."""
    return ((name, file) for name, file in source.files().items() if isinstance(file, LocalFile))


def not_provided(source: Source, folder: Path = Path()) -> str | None:
    """How to get the files of a dataset that its user must bring and has not; None where nothing is missing.

    `folder` is the working folder: a copy that was taken in earlier is enough.
    """
    for name, file in local_files(source):
        taken = folder / raw_folder(source.name) / receipt_name(name)
        if source.instruction and not Path(file.path).is_file() and not taken.is_file():
            return missing(file, source)
    return None


def check_local(sources: Iterable[Source], folder: Path = Path()) -> None:
    """Refuse local files that are missing, or that changed since they were taken into ``data/raw`` of `folder`.

    Raises
    ------
    ConfigurationError
        The message says which file, both hashes, and how to accept the new one.
    """
    for source in sources:
        for name, file in local_files(source):
            receipt = folder / raw_folder(source.name) / receipt_name(name)
            if not Path(file.path).is_file():
                if source.instruction is None and not receipt.is_file():
                    raise ConfigurationError(missing(file, source))
            elif receipt.is_file():
                _check_unchanged(file, source, receipt)


def _check_unchanged(file: LocalFile, source: Source, receipt: Path) -> None:
    path, known = Path(file.path), read_json(receipt)
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) == (known["bytes"], known.get("modified")):
        return
    wanted = file.sha256 or known["sha256"]
    if (found := sha256(path)) != wanted:
        accept = f"delete {receipt}"
        if file.sha256:
            accept = f"write its hash and length into {source.name}.yaml, or remove that and call `mlpaper new dataset`"
        raise ConfigurationError(
            f"{path} changed since {source.title} was first used: its sha256 is {found}, and was {wanted}. "
            f"To accept the new file, {accept} (all runs on it are made again), or bring the old one back"
        )
