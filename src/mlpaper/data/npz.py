"""Reading images and labels from `.npz`, NumPy's zip archive of arrays, without trusting anything in it.

Type and shape of an array are read from its header and compared with the dataset file before memory is taken; images
then pass through in blocks, and no more is ever decompressed than the header's shape takes (`zipfile` stops there, and
checks the content's sum). Nothing is unpickled.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import block_rows
from mlpaper.data.values import classes_of, pixels_of
from mlpaper.errors import DataError, nearest

LONGEST_LABEL = 1024
"""Bytes that a label may take as text."""


class Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    ordered: bool
    """Whether its rows follow one another (C order)."""


def iter_images(
    path: Path, name: str, shape: Sequence[int], count: int, maximum: float = 255.0
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of the array ``name`` in blocks, ``uint8`` of shape (n, D).

    Parameters
    ----------
    maximum
        The value that becomes 255; values are rounded half up.

    Raises
    ------
    DataError
        The array is missing, damaged, not ``count`` images of this ``shape``, or has values outside 0..maximum. The
        message names the file and the array.
    """
    done = 0
    for values, where in _blocks(path, name, shape, count):
        yield pixels_of(values, maximum, f"{where}: image", done)
        done += len(values)


def read_labels(path: Path, name: str, classes: Sequence[str], count: int) -> NDArray[np.int64]:
    """The numbers of the classes that the array ``name`` holds. See `raw_labels` for what is refused."""
    return classes_of(raw_labels(path, name, count), classes, f"{path}: array `{name}`")


def raw_labels(path: Path, name: str, count: int) -> NDArray[np.integer] | list[str]:
    """The labels of the array ``name`` as they are: whole numbers, or text.

    Raises
    ------
    DataError
        The array is missing, damaged, or not one label per image.
    """
    with _array(path, name) as (stream, header, where):
        kind, shape = header.dtype.kind, header.shape
        if kind not in "iuUS" or header.dtype.itemsize > LONGEST_LABEL:
            raise DataError(f"{where}: labels must be whole numbers or text, not {header.dtype}")
        if shape not in ((count,), (count, 1)):
            one_hot = " (of one-hot labels, save labels.argmax(axis=1))" if len(shape) == 2 and shape[1] > 1 else ""
            raise DataError(f"{where}: its shape is {shape}, but must be ({count},), one label per image{one_hot}")
        found = np.frombuffer(_exactly(stream, count * header.dtype.itemsize, where), header.dtype)
    return found if kind in "iu" else [_text(word, where) for word in found.tolist()]


def largest(path: Path, name: str, shape: Sequence[int], count: int) -> float:
    """The largest value of the images ``name``; NaN and negative ones are refused as in `iter_images`."""
    found = 0.0
    for values, where in _blocks(path, name, shape, count):
        pixels_of(values, math.inf, f"{where}: image")
        found = max(found, float(values.max()))
    return found


def _blocks(path: Path, name: str, shape: Sequence[int], count: int) -> Iterator[tuple[NDArray[Any], str]]:
    """The images as they are, in blocks of shape (n, D), with what errors call the array."""
    size = math.prod(shape)
    with _array(path, name) as (stream, header, where):
        _check_images(header, tuple(shape), count, where)
        length = size * header.dtype.itemsize
        for start in range(0, count, block_rows(length)):
            rows = min(block_rows(length), count - start)
            data = _exactly(stream, rows * length, where)
            yield np.frombuffer(data, header.dtype).reshape(rows, size), where


def headers(path: Path) -> dict[str, Header]:
    """The arrays of a file by name, as their headers describe them."""
    with _opened(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
    found = {}
    for name in names:
        with _array(path, name) as (_, header, _where):
            found[name] = header
    return found


def _text(word: str | bytes, where: str) -> str:
    try:
        return word if isinstance(word, str) else word.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: the label {word!r} is not UTF-8 text") from error


def _check_images(header: Header, shape: tuple[int, ...], count: int, where: str) -> None:
    kind, found = header.dtype.kind, header.shape
    if kind not in "uif":
        raise DataError(f"{where}: images must be numbers, not {header.dtype}")
    if not header.ordered:
        raise DataError(f"{where}: is in Fortran order; save np.ascontiguousarray(...) of it")
    flat, channel = (count, math.prod(shape)), (count, *shape, 1)
    if found not in ((count, *shape), flat, channel):
        first = len(shape) == 3 and found[1:] == (shape[2], *shape[:2])
        hint = "; its colours come first: save np.moveaxis(images, 1, -1)" if first else ""
        raise DataError(f"{where}: its shape is {found}, but must be {(count, *shape)} or {flat}{hint}")


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    """Open an archive; what `zipfile` raises becomes a `DataError`."""
    try:
        with ZipFile(path) as archive:
            yield archive
    except (BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a sound npz file ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _array(path: Path, name: str) -> Iterator[tuple[IO[bytes], Header, str]]:
    """Open the array ``name`` behind its header; with what errors call it."""
    where = f"{path}: array `{name}`"
    with _opened(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        if name not in names or f"{name}.npy" not in archive.namelist():
            raise DataError(f"{path}: has no array `{name}`{nearest(name, names)}; it has {', '.join(names[:20])}")
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # of others, a block may expand without limit
            raise DataError(f"{where}: is compressed by a method other than deflate; np.savez_compressed uses that")
        with archive.open(info) as stream:
            header = _header(stream, where)
            length = stream.tell() + math.prod(header.shape) * header.dtype.itemsize
            if info.file_size != length:
                raise DataError(f"{where}: has {info.file_size:,} bytes, but its header needs {length:,}")
            yield stream, header, where


def _header(stream: IO[bytes], where: str) -> Header:
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream, max_header_size=10_000)
    except KeyError as error:
        raise DataError(f"{where}: its format {error} is not known; save it again with np.savez") from error
    except ValueError as error:
        raise DataError(f"{where}: has no sound header ({error})") from error
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects, which would have to be unpickled; save numbers or text")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise DataError(f"{where}: has no sound header (shape {shape})")
    return Header(tuple(shape), dtype, not fortran or len(shape) < 2)


def _exactly(stream: IO[bytes], size: int, where: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise DataError(f"{where}: ends before the values that its header announces")
    return data
