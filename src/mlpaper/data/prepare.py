"""Preparing a pool of images: from verified official files to arrays.

Images pass through in chunks of a few megabytes, whatever the size of the pool. `mlpaper.data.dataset` opens the
result; it stands apart from this module so that training does not depend on where data come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import PIXELS, SIDE
from mlpaper.data.dataset import IMAGES, LABELS, META
from mlpaper.data.idx import iter_images, raw_sha256, read_labels
from mlpaper.data.sources import ROLES, OfficialPart, Role, Source, get_source, raw_name
from mlpaper.errors import DataError
from mlpaper.files import atomic, sha256, write_json, write_npy
from mlpaper.spec import Part, PoolSpec


def prepare(pool: PoolSpec, raw_folder: Path, folder: Path, *, source: Source | None = None) -> None:
    """Write the pool's ``images.npy``, ``labels.npy`` and ``meta.json`` into ``folder``.

    Parameters
    ----------
    raw_folder
        Where `mlpaper.data.fetch.fetch_part` put the parts. The bytes are checked against the registry again. Not
        read for a dataset that a package brings along.
    source
        The dataset, where it is not the registered one of the pool's name.

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
    source = source or get_source(pool.name)
    raw_folder, folder = Path(raw_folder), Path(folder)
    counts = {part: source.parts[part].count for part in pool.parts}
    stops = np.cumsum(list(counts.values())).tolist()
    ranges = {part: [stop - counts[part], stop] for part, stop in zip(counts, stops, strict=True)}
    files: list[dict[str, object]] = []

    if source.downloads:
        for part in pool.parts:
            files += _checked_files(source, part, raw_folder)
        labels = np.concatenate(
            [read_labels(raw_folder / raw_name(part, "labels"), counts[part]) for part in pool.parts]
        )
        chunks = (
            _upright(block) if source.transposed else block
            for part in pool.parts
            for block in iter_images(raw_folder / raw_name(part, "images"), counts[part])
        )
    else:
        images, all_labels = _digits(source)
        rows = np.concatenate([np.arange(*_official_range(source, part)) for part in pool.parts])
        labels = all_labels[rows]
        chunks = (block for block in [images[rows]])

    per_class = _count_classes(labels, source)
    (folder / META).unlink(missing_ok=True)
    _write_images(folder / IMAGES, chunks, len(labels))
    write_npy(folder / LABELS, labels.astype(np.int64))
    write_json(
        folder / META,
        {
            "pool": pool.id,
            "dataset": source.name,
            "title": source.title,
            "count": len(labels),
            "shape": [SIDE, SIDE],
            "parts": ranges,
            "classes": list(source.classes),
            "counts": per_class,
            "imbalance": max(per_class) / min(per_class),
            "transposed": source.transposed,
            "licence": source.licence,
            "homepage": source.homepage,
            "citation": source.citation,
            "sources": files,
            "content_sha256": source.content_sha256,
            "arrays": {name: {"sha256": sha256(folder / name)} for name in (IMAGES, LABELS)},
        },
    )


def _checked_files(source: Source, part: Part, raw_folder: Path) -> list[dict[str, object]]:
    """Check one part's raw files against the registry and describe them."""
    official = source.parts[part]
    return [
        {
            "part": part,
            "role": role,
            "name": official.files[role].name,
            "sha256": _checked_hash(raw_folder / raw_name(part, role), official, role),
        }
        for role in ROLES
    ]


def _checked_hash(path: Path, official: OfficialPart, role: Role) -> str:
    """SHA-256 of a raw file, which must be the registered one, or that of the same content compressed anew."""
    file = official.files[role]
    mend = "Delete it and fetch it again"
    try:
        found = sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). {mend}") from error
    if found == file.sha256:
        return found
    reason = f"sha256 {found} instead of {file.sha256}"
    if file.raw_sha256 is not None:
        try:
            if raw_sha256(path, official.raw_bytes(role)) == file.raw_sha256:
                return found
        except DataError as error:
            reason = str(error)
    raise DataError(f"{path}: not the content of {file.name} ({reason}). {mend}")


def _count_classes(labels: NDArray[np.uint8], source: Source) -> list[int]:
    """Count the labels of each class; each class must have some, and there must be no others."""
    counts = np.bincount(labels, minlength=len(source.classes))
    if len(counts) > len(source.classes):
        raise DataError(
            f"{source.title}: a label is {len(counts) - 1}, but the {len(source.classes)} classes end at "
            f"{len(source.classes) - 1}"
        )
    if not counts.all():
        missing = source.classes[int(np.argmin(counts))]
        raise DataError(f"{source.title}: there is no image of class `{missing}`")
    return [int(count) for count in counts]


def _upright(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Transpose each image."""
    return images.reshape(-1, SIDE, SIDE).transpose(0, 2, 1).reshape(-1, PIXELS)


def _write_images(path: Path, chunks: Iterator[NDArray[np.uint8]], count: int) -> None:
    """Write an ``.npy`` chunk by chunk.

    By plain writes rather than through a memory map: where the disk is full, a write is an error, and a map a crash.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, PIXELS)}
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in chunks:
            stream.write(np.ascontiguousarray(block).data)


def _official_range(source: Source, part: Part) -> tuple[int, int]:
    """Rows of a part among all images of a dataset that a package brings along."""
    start = 0 if part == "train" else source.parts["train"].count
    return start, start + source.parts[part].count


def _digits(source: Source) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """scikit-learn's digits, enlarged, with their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = bunch.images.astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    found = hashlib.sha256(small.tobytes() + labels.tobytes()).hexdigest()
    if found != source.content_sha256:
        raise DataError(
            f"scikit-learn's digits are not the known ones (sha256 {found} instead of {source.content_sha256}): "
            "install the version of scikit-learn that the lock file names"
        )
    return enlarge(small).reshape(-1, PIXELS), labels


def enlarge(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge (N, 8, 8) images of values 0..16 to (N, 28, 28) of values 0..255, in exact integer arithmetic.

    The centre of output pixel i lies at (i + 1/2) 8/28 - 1/2 = (4 i - 5)/14 of the input, so bilinear weights are
    whole multiples of 1/14 in each direction.
    """
    side, top = 8, 16
    position = np.clip(4 * np.arange(SIDE) - 5, 0, 14 * (side - 1))
    left = np.minimum(position // 14, side - 2)
    weights = np.zeros((SIDE, side), dtype=np.int64)
    rows = np.arange(SIDE)
    weights[rows, left] = 14 * (left + 1) - position
    weights[rows, left + 1] = position - 14 * left
    values = weights @ small.astype(np.int64) @ weights.T
    scale = 14 * 14 * top
    return ((2 * 255 * values + scale) // (2 * scale)).astype(np.uint8)
