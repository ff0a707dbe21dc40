"""Writing files so that nobody ever sees half of one, and reading them without trusting them.

Every file is written beside its place and renamed. Nothing here, or anywhere else, reads a pickle. What a file claims
to hold is compared with its size, or with a limit, before memory is taken for it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpaper.errors import DamagedError, StorageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

MOST_JSON = 64 * 2**20
"""Bytes that a JSON file may have."""
MOST_ROWS, MOST_COLUMNS, MOST_UNPACKED = 20_000_000, 200, 2 * 2**30
"""Rows, columns and unpacked bytes that a Parquet file may claim to have."""


NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT))
"""Errors of a disk, or a quota, that is full."""


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
        if error.errno in NO_SPACE:
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


def damaged(path: Path, why: object) -> DamagedError:
    """The error that a file which the pipeline made is not what it must be."""
    return DamagedError(f"{path} is damaged: {why}. Remove it and run again: it is made again")


def size_of(path: Path) -> int:
    """Bytes of a file; what is no regular file, such as a pipe that never ends, is refused."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise damaged(path, "it is not a regular file")
    return status.st_size


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    DamagedError
        It is not JSON, has more than `MOST_JSON` bytes, nests too deeply, or holds NaN or infinity.
    """
    if (size := size_of(path)) > MOST_JSON:
        raise damaged(path, f"{size:,} bytes, more than {MOST_JSON:,}")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON ({error})") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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
    """Read all arrays of an uncompressed ``.npz``.

    Raises
    ------
    DamagedError
        It is not such a file, an array is not as large as it claims to be, or holds pickled objects.
    """
    size = size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(it.compress_type != zipfile.ZIP_STORED or it.flag_bits & 1 for it in members):
                raise ValueError("a member is compressed")
            if sum(it.file_size for it in members) > size:
                raise ValueError("its members claim more bytes than the file has")
            names = [it.filename.removesuffix(".npy") for it in members]
            if len(set(names)) < len(names):
                raise ValueError("a member is there twice")
            return {name: _read_member(archive, it) for name, it in zip(names, members, strict=True)}
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        OverflowError,
    ) as error:
        raise damaged(path, error) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array of an ``.npz``, whose header must claim exactly the bytes that follow it."""
    from numpy.lib import format as npy

    with archive.open(member) as stream:
        if (version := npy.read_magic(stream)) != (1, 0):
            raise ValueError(f"{member.filename} is of version {version} of the format")
        shape, _, dtype = npy.read_array_header_1_0(stream)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects, which could run code")
        if any(length < 0 for length in shape) or stream.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} claims {dtype} {shape}, which is not as many bytes as it has")
        stream.seek(0)
        array: np.ndarray = npy.read_array(stream, allow_pickle=False)
    return array


def write_parquet(path: Path, columns: Mapping[str, Any] | pa.Table, about: Mapping[str, str] | None = None) -> None:
    """Write columns (name to a list or 1-d array) as Parquet, with words `about` them in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(columns, pa.Table):
        table = columns
    else:
        table = pa.Table.from_arrays([_arrow(column) for column in columns.values()], names=list(columns))
    if about:
        table = table.replace_schema_metadata(about)
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
    """Read a Parquet file as an Arrow table.

    Raises
    ------
    DamagedError
        It is not such a file, or claims to be larger than any file of the pipeline.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size_of(path)
    try:
        with pq.ParquetFile(path) as file:
            about = file.metadata
            unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            for what, claimed, most in (
                ("rows", about.num_rows, MOST_ROWS),
                ("columns", about.num_columns, MOST_COLUMNS),
                ("unpacked bytes", unpacked, MOST_UNPACKED),
            ):
                if not 0 <= claimed <= most:
                    raise ValueError(f"it claims {claimed:,} {what}; none has more than {most:,}")
            return file.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, str(error).partition("\n")[0].rstrip(".")) from error


def read_frame(path: Path) -> pd.DataFrame:
    """Read a Parquet file as a table of pandas; what the file says about pandas is left aside."""
    frame: pd.DataFrame = read_parquet(path).replace_schema_metadata().to_pandas()
    return frame


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
