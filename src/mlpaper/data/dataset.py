"""Preparing a pool of images once, and opening it as often as needed.

A prepared pool is a folder with ``images.npy`` (``uint8``, (N, 784), upright, row-major), ``labels.npy`` (``int64``,
(N,)) and ``meta.json``, which is written last: a folder that has it is complete. Images pass through in chunks of a few
megabytes when they are prepared, and are memory-mapped when they are used, so parallel jobs share one copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpaper.data.fetch import raw_name, raw_sha256
from mlpaper.data.idx import PIXELS, iter_images, read_labels
from mlpaper.data.sources import ROLES, SIDE, OfficialPart, Role, Source, get_source
from mlpaper.data.transfer import RejectedError
from mlpaper.errors import DataError
from mlpaper.files import atomic, read_json, sha256, write_json, write_npy
from mlpaper.spec import Part, PoolSpec

IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"


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


@dataclass(frozen=True, slots=True)
class Dataset:
    """A prepared pool, open for reading."""

    folder: Path
    images: NDArray[np.uint8] = field(repr=False)
    """(N, 784), memory-mapped and read-only."""
    labels: NDArray[np.int64] = field(repr=False)
    """(N,)."""
    meta: dict[str, Any] = field(repr=False)
    """What ``meta.json`` says."""

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open the pool in ``folder``.

        Raises
        ------
        DataError
            The folder is incomplete, or its files do not belong together.
        """
        folder = Path(folder)
        mend = "Delete the folder and run again"
        try:
            meta = read_json(folder / META)
            images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
            labels = np.load(folder / LABELS, allow_pickle=False)
            count, classes = int(meta["count"]), list(meta["classes"])
            parts = {str(part): (int(start), int(stop)) for part, (start, stop) in meta["parts"].items()}
        except FileNotFoundError as error:
            raise DataError(f"{folder}: {Path(error.filename).name} is missing. {mend}") from error
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{folder}: not a sound prepared dataset ({error}). {mend}") from error
        for name, array, dtype, shape in (
            (IMAGES, images, np.uint8, (count, PIXELS)),
            (LABELS, labels, np.int64, (count,)),
        ):
            if array.dtype != dtype or array.shape != shape:
                raise DataError(
                    f"{folder}: {name} is {array.dtype} {array.shape}, but {META} says "
                    f"{np.dtype(dtype)} {shape}. {mend}"
                )
        inside = all(0 <= start <= stop <= count for start, stop in parts.values())
        if not inside or (count and not 0 <= labels.min() <= labels.max() < len(classes)):
            raise DataError(f"{folder}: labels or parts lie outside of what {META} says. {mend}")
        labels.flags.writeable = False
        return cls(folder, images, labels, meta)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return tuple(self.meta["classes"])

    @property
    def part_ranges(self) -> dict[str, tuple[int, int]]:
        """Rows [start, stop) of each official part in the pool."""
        return {part: (start, stop) for part, (start, stop) in self.meta["parts"].items()}

    def part_range(self, part: Part) -> tuple[int, int]:
        """Rows [start, stop) of an official part.

        Raises
        ------
        DataError
            The pool does not have this part.
        """
        try:
            return self.part_ranges[part]
        except KeyError:
            raise DataError(f"the pool {self.meta['pool']} has no official {part} part") from None


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
    try:
        found = sha256(path)
        if found != file.sha256 and (
            file.raw_sha256 is None or raw_sha256(path, official.raw_bytes(role)) != file.raw_sha256
        ):
            raise RejectedError(f"sha256 {found} instead of {file.sha256}")
    except RejectedError as error:
        raise DataError(f"{path}: not the content of {file.name} ({error}). Delete it and fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Delete it and fetch it again") from error
    return found


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
    import hashlib

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
