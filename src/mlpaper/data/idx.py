"""Reading IDX, the format of the MNIST family: a short big-endian header, then one byte per value, mostly gzipped.

The header says how long the rest must be. No more than that is ever decompressed, so a gzip bomb costs nothing; a file
that is shorter, longer, corrupt or of another kind is an error that names what was found and what was expected.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import block_rows
from mlpaper.errors import DataError

MAGIC = 2048
"""Of bytes; the number of dimensions is added: 2049 for labels, 2051 for grey images, 2052 for colour."""
MAX_COUNT = 10_000_000
"""No set of this family comes near; without an expected count, a header that says more is not believed."""

Stream = gzip.GzipFile | BufferedReader
_KINDS = {2049: "labels", 2051: "images", 2052: "colour images"}


def iter_images(
    path: Path, shape: Sequence[int], expected_count: int | None = None, chunk: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in chunks of up to ``chunk`` rows, each ``uint8`` of shape (n, D), as stored.

    The yielded array is reused: copy it before asking for the next one. That the file ends where it must is known
    only once the iterator is exhausted.

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt, too long, or its images are not of this ``shape`` (or not
        ``expected_count`` of them).
    """
    size, chunk = math.prod(shape), chunk or block_rows(math.prod(shape))
    with _open(path, MAGIC + 1 + len(shape), expected_count) as (stream, count):
        found = struct.unpack(f">{len(shape)}I", _exactly(stream, 4 * len(shape), path, "its header"))
        if found != tuple(shape):
            raise DataError(f"{path}: its images are {_by(found)}, but must be {_by(shape)}")
        buffer = np.empty((min(chunk, count), size), dtype=np.uint8)
        for start in range(0, count, chunk):
            block = buffer[: min(chunk, count - start)]
            _fill(stream, block, path, f"{count:,} images")
            yield block
        _at_end(stream, path, f"{count:,} images")


def shape_of(path: Path) -> tuple[int, ...]:
    """The shape of an image, as the header of a file of grey or colour images says."""
    with sound(path), opened(path) as stream:
        magic, _ = struct.unpack(">II", _exactly(stream, 8, path, "its header"))
        sides = magic - MAGIC - 1
        if sides not in (2, 3):
            raise DataError(f"{path}: its magic number is {magic}, but must be 2051 (images)")
        return struct.unpack(f">{sides}I", _exactly(stream, 4 * sides, path, "its header"))


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def read_labels(path: Path, expected_count: int | None = None) -> NDArray[np.uint8]:
    """Read all labels: ``uint8`` of shape (N,).

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt, too long, or not labels (or not ``expected_count`` of them).
    """
    with _open(path, MAGIC + 1, expected_count) as (stream, count):
        labels = np.empty(count, dtype=np.uint8)
        _fill(stream, labels, path, f"{count:,} labels")
        _at_end(stream, path, f"{count:,} labels")
    return labels


def raw_sha256(path: Path, limit: int) -> str:
    """SHA-256 of a file's content without its compression.

    Raises
    ------
    DataError
        The file is missing, truncated or corrupt, or its content has more than ``limit`` bytes.
    """
    digest = hashlib.sha256()
    done = 0
    with sound(path), opened(path) as stream:
        while block := stream.read(1 << 20):
            done += len(block)
            if done > limit:
                raise DataError(f"{path}: its content has more than the {limit:,} bytes that it must have")
            digest.update(block)
    return digest.hexdigest()


def opened(path: Path) -> Stream:
    """The content of a file, which may be gzipped."""
    with path.open("rb") as plain:
        if plain.read(2) != b"\x1f\x8b":
            return path.open("rb")
    return gzip.open(path, "rb")


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn what gzip may raise into `DataError`."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a sound gzip file ({error})") from error
    except EOFError as error:
        raise DataError(f"{path}: the gzip file is truncated") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _open(path: Path, magic: int, expected_count: int | None) -> Iterator[tuple[Stream, int]]:
    """Open an IDX file, check its magic number and count."""
    with sound(path), opened(path) as stream:
        found, count = struct.unpack(">II", _exactly(stream, 8, path, "its header"))
        if found != magic:
            kind = f" ({_KINDS[found]})" if found in _KINDS else ""
            raise DataError(f"{path}: its magic number is {found}{kind}, but must be {magic} ({_KINDS[magic]})")
        if expected_count is not None and count != expected_count:
            raise DataError(f"{path}: its header says {count:,} {_KINDS[magic]}, but there must be {expected_count:,}")
        if count > MAX_COUNT:
            raise DataError(
                f"{path}: its header says {count:,} {_KINDS[magic]}, which cannot be (more than {MAX_COUNT:,})"
            )
        yield stream, count


def _exactly(stream: Stream, size: int, path: Path, what: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise DataError(f"{path}: it ends within {what}: {len(data)} bytes where {size} must be")
    return data


def _fill(stream: Stream, array: NDArray[np.uint8], path: Path, what: str) -> None:
    """Fill ``array`` from the stream."""
    view = array.reshape(-1).data
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])
        if not got:
            raise DataError(f"{path}: it ends before the {what} that its header announces")
        done += got


def _at_end(stream: Stream, path: Path, what: str) -> None:
    if stream.read(1):
        raise DataError(f"{path}: it goes on after the {what} that its header announces")
