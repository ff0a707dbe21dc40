"""Reading IDX, the format of the MNIST family: a short big-endian header, then one byte per value, gzipped.

The header says how long the rest must be. No more than that is ever decompressed, so a gzip bomb costs nothing; a file
that is shorter, longer, corrupt or of another kind is an error that names what was found and what was expected.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import PIXELS, SIDE
from mlpaper.errors import DataError

IMAGES_MAGIC = 2051
LABELS_MAGIC = 2049
MAX_COUNT = 10_000_000
"""No set of this family comes near; without an expected count, a header that says more is not believed."""
CHUNK = 8192
"""Images per chunk: 6.4 MB."""

_KINDS = {IMAGES_MAGIC: "images", LABELS_MAGIC: "labels"}


def iter_images(path: Path, expected_count: int | None = None, chunk: int = CHUNK) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in chunks of up to ``chunk`` rows, each ``uint8`` of shape (n, 784), as stored.

    The yielded array is reused: copy it before asking for the next one. That the file ends where it must is known
    only once the iterator is exhausted.

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt, too long, or not 28x28 images (or not ``expected_count`` of them).
    """
    with _open(path, IMAGES_MAGIC, expected_count) as (stream, count):
        rows, columns = struct.unpack(">II", _exactly(stream, 8, path, "its header"))
        if (rows, columns) != (SIDE, SIDE):
            raise DataError(f"{path}: its images are {rows}x{columns}, but must be {SIDE}x{SIDE}")
        buffer = np.empty((min(chunk, count), PIXELS), dtype=np.uint8)
        for start in range(0, count, chunk):
            block = buffer[: min(chunk, count - start)]
            _fill(stream, block, path, f"{count:,} images")
            yield block
        _at_end(stream, path, f"{count:,} images")


def read_images(path: Path, expected_count: int | None = None) -> NDArray[np.uint8]:
    """Read all images as stored: ``uint8`` of shape (N, 784). See `iter_images` for what is refused."""
    chunks = [block.copy() for block in iter_images(path, expected_count)]
    return np.concatenate(chunks) if chunks else np.empty((0, PIXELS), dtype=np.uint8)


def read_labels(path: Path, expected_count: int | None = None) -> NDArray[np.uint8]:
    """Read all labels: ``uint8`` of shape (N,).

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt, too long, or not labels (or not ``expected_count`` of them).
    """
    with _open(path, LABELS_MAGIC, expected_count) as (stream, count):
        labels = np.empty(count, dtype=np.uint8)
        _fill(stream, labels, path, f"{count:,} labels")
        _at_end(stream, path, f"{count:,} labels")
    return labels


def raw_sha256(path: Path, limit: int) -> str:
    """SHA-256 of a gzip file's content.

    Raises
    ------
    DataError
        The file is missing, truncated or corrupt, or its content has more than ``limit`` bytes.
    """
    digest = hashlib.sha256()
    done = 0
    with _sound(path), gzip.open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            done += len(block)
            if done > limit:
                raise DataError(f"{path}: its content has more than the {limit:,} bytes that it must have")
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _sound(path: Path) -> Iterator[None]:
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
def _open(path: Path, magic: int, expected_count: int | None) -> Iterator[tuple[gzip.GzipFile, int]]:
    """Open an IDX file, check its magic number and count."""
    with _sound(path), gzip.open(path, "rb") as stream:
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


def _exactly(stream: gzip.GzipFile, size: int, path: Path, what: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise DataError(f"{path}: it ends within {what}: {len(data)} bytes where {size} must be")
    return data


def _fill(stream: gzip.GzipFile, array: NDArray[np.uint8], path: Path, what: str) -> None:
    """Fill ``array`` from the stream."""
    view = array.reshape(-1).data
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])
        if not got:
            raise DataError(f"{path}: it ends before the {what} that its header announces")
        done += got


def _at_end(stream: gzip.GzipFile, path: Path, what: str) -> None:
    if stream.read(1):
        raise DataError(f"{path}: it goes on after the {what} that its header announces")
