"""Opening a prepared pool.

A prepared pool is a folder with ``images.npy`` (``uint8``, (N, D), upright, row-major), ``labels.npy`` (``int64``,
(N,)) and ``meta.json``, which is written last: a folder that has it is complete. The images are memory-mapped, so
parallel jobs share one copy. `mlpaper.data.prepare` makes such folders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpaper.errors import DataError
from mlpaper.files import read_json
from mlpaper.spec import Part

IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A prepared pool, open for reading."""

    folder: Path
    images: NDArray[np.uint8] = field(repr=False)
    """(N, D), memory-mapped and read-only."""
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
            count, classes, pixels = int(meta["count"]), list(meta["classes"]), math.prod(meta["shape"])
            parts = {str(part): (int(start), int(stop)) for part, (start, stop) in meta["parts"].items()}
        except FileNotFoundError as error:
            raise DataError(f"{folder}: {Path(error.filename).name} is missing. {mend}") from error
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{folder}: not a sound prepared dataset ({error}). {mend}") from error
        for name, array, dtype, shape in (
            (IMAGES, images, np.uint8, (count, pixels)),
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
    def shape(self) -> tuple[int, ...]:
        """Of an image: (height, width), or (height, width, 3) in colour."""
        return tuple(self.meta["shape"])

    def picture(self, row: int) -> NDArray[np.uint8]:
        """The image in a row, as matplotlib shows it."""
        return np.asarray(self.images[row]).reshape(self.shape)

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
