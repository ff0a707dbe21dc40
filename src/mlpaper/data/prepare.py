"""Preparing a pool of images: from verified files to arrays.

Images pass through in blocks of a few megabytes, whatever the size of the pool. `mlpaper.data.dataset` opens the
result; it stands apart from this module so that training does not depend on where data come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import csv_file, idx, npz
from mlpaper.data.dataset import IMAGES, LABELS, META
from mlpaper.data.sources import Content, LocalFile, RemoteFile, receipt_name
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import atomic, read_json, sha256, write_json, write_npy
from mlpaper.spec import Part, PoolSpec

DIGITS_SIDE = 28
"""scikit-learn's digits are enlarged to this."""


def prepare(pool: PoolSpec, content: Content, raw_folder: Path, folder: Path) -> None:
    """Write the pool's ``images.npy``, ``labels.npy`` and ``meta.json`` into ``folder``.

    Parameters
    ----------
    content
        What the dataset file says of the pool's dataset.
    raw_folder
        Where `mlpaper.data.fetch.fetch_file` put the files. Their bytes are checked again. Not read for a dataset that
        a package brings along.

    Raises
    ------
    DataError
        A raw file is missing, changed or malformed, or a label is not a class.
    StorageError
        The disk is full, or the folder cannot be written to.

    Notes
    -----
    scikit-learn's digits are 8x8 with values 0..16. They are enlarged to 28x28 by bilinear interpolation between
    pixel centres (edges are repeated) and scaled to 0..255, rounded half up. All of it is integer arithmetic, so every
    machine makes the same bytes.
    """
    raw_folder, folder = Path(raw_folder), Path(folder)
    counts = content.counts(pool.parts)
    if not counts:
        raise ConfigurationError(f"{content.name} has no official {' or '.join(pool.parts)} part")
    stops = np.cumsum(list(counts.values())).tolist()
    ranges = {part: [stop - counts[part], stop] for part, stop in zip(counts, stops, strict=True)}
    files = [_checked_file(content, name, raw_folder) for name in content.files(pool.parts)]
    labels = np.concatenate([_labels(content, part, raw_folder) for part in counts])
    per_class = _count_classes(labels, content)
    (folder / META).unlink(missing_ok=True)
    blocks = (
        _upright(block, content.shape) if content.transposed else block
        for part in counts
        for block in _images(content, part, raw_folder)
    )
    _write_images(folder / IMAGES, blocks, len(labels), content.pixels)
    write_npy(folder / LABELS, labels.astype(np.int64))
    write_json(
        folder / META,
        {
            "pool": pool.id,
            "dataset": content.name,
            "count": len(labels),
            "shape": list(content.shape),
            "parts": ranges,
            "classes": list(content.classes),
            "counts": per_class,
            "imbalance": max(per_class) / min(per_class),
            "transposed": content.transposed,
            "sources": files,
            "content_sha256": content.content_sha256,
            "arrays": {name: {"sha256": sha256(folder / name)} for name in (IMAGES, LABELS)},
        },
    )


def _images(content: Content, part: Part, raw: Path) -> Iterator[NDArray[np.uint8]]:
    """The images of a part in blocks, as stored."""
    official = content.official[part]
    match content.format:
        case "idx":
            return idx.iter_images(raw / content.raw_name(part, "images"), content.shape, official.count)
        case "npz":
            path, name = raw / content.raw_name(part), official.arrays.images
            return npz.iter_images(path, name, content.shape, official.count, content.maximum)
        case "csv":
            path, columns = raw / content.raw_name(part), content.columns
            return csv_file.iter_images(path, columns, content.pixels, official.count, content.maximum)
        case "sklearn-digits":
            return iter([_digits(content)[0][slice(*_official_range(content, part))]])


def _labels(content: Content, part: Part, raw: Path) -> NDArray[np.integer]:
    """The numbers of the classes of a part's images."""
    official, classes = content.official[part], content.classes
    match content.format:
        case "idx":
            return idx.read_labels(raw / content.raw_name(part, "labels"), official.count)
        case "npz":
            return npz.read_labels(raw / content.raw_name(part), official.arrays.labels, classes, official.count)
        case "csv":
            path = raw / content.raw_name(part)
            return csv_file.read_labels(path, content.columns, content.pixels, official.count, classes)
        case "sklearn-digits":
            return _digits(content)[1][slice(*_official_range(content, part))]


def _checked_file(content: Content, name: str, raw_folder: Path) -> dict[str, object]:
    """Describe a raw file, whose bytes must be the known ones or those of its receipt."""
    file, path, mend = content.files()[name], raw_folder / name, "Delete it and fetch it again"
    try:
        found = sha256(path)
        known = file.sha256 or read_json(raw_folder / receipt_name(name))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path} cannot be read ({reason}). {mend}") from error
    if found != known:
        reason = _why_other(path, file, content.raw_bytes(name) if content.format == "idx" else 0)
        if reason is not None:
            raise DataError(
                f"{path}: not the content of {file.name} ({reason or f'sha256 {found} instead of {known}'}). {mend}"
            )
    return {"file": name, "name": file.name, "sha256": found}


def _why_other(path: Path, file: RemoteFile | LocalFile, raw_bytes: int) -> str | None:
    """Why a file is not the known content compressed anew (empty: that is not known), or None where it is."""
    if isinstance(file, LocalFile) or file.raw_sha256 is None:
        return ""
    try:
        return None if idx.raw_sha256(path, raw_bytes) == file.raw_sha256 else ""
    except DataError as error:
        return str(error)


def _count_classes(labels: NDArray[np.integer], content: Content) -> list[int]:
    """Count the labels of each class; each class must have some, and there must be no others."""
    counts = np.bincount(labels, minlength=len(content.classes))
    if len(counts) > len(content.classes):
        raise DataError(
            f"{content.name}: a label is {len(counts) - 1}, but the {len(content.classes)} classes end at "
            f"{len(content.classes) - 1}"
        )
    if not counts.all():
        missing = content.classes[int(np.argmin(counts))]
        raise DataError(f"{content.name}: there is no image of class `{missing}`")
    return [int(count) for count in counts]


def _upright(images: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Transpose each image."""
    return images.reshape(-1, *shape).transpose(0, 2, 1).reshape(len(images), -1)


def _write_images(path: Path, blocks: Iterator[NDArray[np.uint8]], count: int, pixels: int) -> None:
    """Write an ``.npy`` block by block.

    By plain writes rather than through a memory map: where the disk is full, a write is an error, and a map a crash.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, pixels)}
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block).data)


def _official_range(content: Content, part: Part) -> tuple[int, int]:
    """Rows of a part among all images of a dataset that a package brings along."""
    start = 0 if part == "train" else content.parts.train.count
    return start, start + content.official[part].count


@cache
def _digits(content: Content) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """scikit-learn's digits, enlarged, with their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = bunch.images.astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    found = hashlib.sha256(small.tobytes() + labels.tobytes()).hexdigest()
    if found != content.content_sha256:
        raise DataError(
            f"scikit-learn's digits are not the known ones (sha256 {found} instead of {content.content_sha256}): "
            "install the version of scikit-learn that the lock file names"
        )
    if (count := sum(content.counts().values())) != len(labels):
        raise DataError(f"{content.name}: its parts have {count:,} images, but scikit-learn has {len(labels):,} digits")
    return enlarge(small).reshape(len(small), -1), labels


def enlarge(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge (N, 8, 8) images of values 0..16 to (N, 28, 28) of values 0..255, in exact integer arithmetic.

    The centre of output pixel i lies at (i + 1/2) 8/28 - 1/2 = (4 i - 5)/14 of the input, so bilinear weights are
    whole multiples of 1/14 in each direction.
    """
    side, top = 8, 16
    position = np.clip(4 * np.arange(DIGITS_SIDE) - 5, 0, 14 * (side - 1))
    left = np.minimum(position // 14, side - 2)
    weights = np.zeros((DIGITS_SIDE, side), dtype=np.int64)
    rows = np.arange(DIGITS_SIDE)
    weights[rows, left] = 14 * (left + 1) - position
    weights[rows, left + 1] = position - 14 * left
    values = weights @ small.astype(np.int64) @ weights.T
    scale = 14 * 14 * top
    return ((2 * 255 * values + scale) // (2 * scale)).astype(np.uint8)
