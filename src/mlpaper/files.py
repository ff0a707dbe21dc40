"""Writing files so that nobody ever sees half of one, and reading them without trusting them.

Every file is written beside its place and renamed. Nothing here, or anywhere else, reads a pickle.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpaper.errors import StorageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure.

    Raises
    ------
    StorageError
        The disk is full, the quota is spent, or the folder cannot be written to.
    """
    path = Path(path)
    temporary, descriptor = None, -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with suppress(OSError):  # not on every file system
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"the disk of {path.parent} is full: {path.name} was not written. Free some space and run again"
            raise StorageError(message) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            message = f"{path} cannot be written: {error.strerror}. Make its folder writable and run again"
            raise StorageError(message) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)


def abandoned(folder: Path) -> Iterator[Path]:
    """Temporary files of `atomic` in a folder and below it, whose writers were killed: nobody locks them."""
    for path in folder.rglob(".*.part"):
        with suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON with sorted keys. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed ``.npz``; the same arrays give the same bytes."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz``; pickled objects are refused."""
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_parquet(path: Path, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write columns (name to a list or 1-d array) as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(columns, pa.Table):
        table = columns
    else:
        table = pa.Table.from_arrays([_arrow(column) for column in columns.values()], names=list(columns))
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _arrow(column: Any) -> pa.Array:
    """Numbers or texts, None where there is none, as an Arrow array, made from its buffers.

    `pa.array` would do, but it imports pandas to look at what it is given, which takes longer than many a job.
    """
    import numpy as np
    import pyarrow as pa

    validity = None
    if isinstance(column, np.ndarray):
        array = column
    else:
        types = {type(value) for value in column if value is not None}
        if not types:
            return pa.nulls(len(column))
        if types not in ({int}, {float}, {int, float}, {str}):
            return pa.array(column)
        known = [value is not None for value in column]
        if not all(known):
            validity = pa.py_buffer(np.packbits(known, bitorder="little"))
        empty = types.pop()()
        array = np.asarray([empty if value is None else value for value in column])
    if array.ndim != 1 or array.dtype.kind not in "iufU":
        return pa.array(column)
    if array.dtype.kind == "U":
        encoded = [text.encode() for text in array.tolist()]
        offsets = pa.py_buffer(np.cumsum([0, *map(len, encoded)], dtype=np.int32))
        return pa.StringArray.from_buffers(len(encoded), offsets, pa.py_buffer(b"".join(encoded)), validity)
    buffer = pa.py_buffer(np.ascontiguousarray(array))
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), [validity, buffer])


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file as an Arrow table."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read()


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
