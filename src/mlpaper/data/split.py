"""Splitting a pool into training, validation and test sets, class by class.

The same labels, specification and seed give the same split on every machine and with every version of NumPy: the
order of a class comes from raw PCG64 output, whose stability NumPy guarantees (that of ``Generator.permutation`` it
does not), and sizes are computed with exact fractions (the floor of 0.29 * 100 is 29; with binary floats it is 28).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import read_npz, write_npz
from mlpaper.spec import OfficialSplit, PoolSplit, share

SETS = ("train", "validation", "test")
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of a pool: three sorted, disjoint arrays of ``int64``."""

    train: Indices
    validation: Indices
    test: Indices

    def write(self, path: Path) -> None:
        """Write the split as ``.npz``."""
        write_npz(path, {name: getattr(self, name) for name in SETS})

    @classmethod
    def read(cls, path: Path) -> Split:
        """Read a split.

        Raises
        ------
        DataError
            The file is missing or damaged, or the sets are not sorted and disjoint.
        """
        try:
            arrays = read_npz(path)
            split = cls(*(arrays[name] for name in SETS))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a sound split ({error}). Delete it and run again") from error
        sets = (split.train, split.validation, split.test)
        sound = all(rows.ndim == 1 and rows.dtype == np.int64 for rows in sets)
        if sound:
            together = np.concatenate(sets)
            sound = all(bool((rows[1:] > rows[:-1]).all()) for rows in sets)
            sound = sound and len(np.unique(together)) == len(together) and together.min(initial=0) >= 0
        if not sound:
            raise DataError(f"{path}: its sets are not sorted and disjoint. Delete it and run again")
        return split


def make_split(
    labels: NDArray[Any],
    spec: PoolSplit | OfficialSplit,
    part_ranges: Mapping[str, tuple[int, int]],
    classes: Sequence[str] | None = None,
) -> Split:
    """Split a pool.

    Parameters
    ----------
    labels
        Class of each row, 0 to the number of classes - 1.
    part_ranges
        Rows [start, stop) of each official part that the pool has.
    classes
        Names of the classes; without them, there are as many as the labels show.

    Raises
    ------
    DataError
        A class is too small to appear in all three sets.
    ConfigurationError
        The official split of a pool that lacks a part, or more images asked for than there are.
    """
    labels = np.asarray(labels).astype(np.int64, copy=False)
    count = int(labels.max(initial=-1)) + 1
    names = list(map(str, range(count))) if classes is None else list(classes)
    if count > len(names) or labels.min(initial=0) < 0:
        raise DataError(f"labels must lie in 0..{len(names) - 1}, the {len(names)} classes")
    if isinstance(spec, PoolSplit):
        chosen = _pool(labels, spec, len(names))
    else:
        chosen = _official(labels, spec, part_ranges, len(names))
    for label, sets in enumerate(chosen):
        for name, rows in zip(SETS, sets, strict=True):
            if not len(rows):
                total = int((labels == label).sum())
                raise DataError(
                    f"class `{names[label]}` is too small for the split: of its {total} images none is left for the "
                    f"{name} set. Use more data, or change the split's fractions"
                )
    columns = zip(*chosen, strict=True)
    return Split(*(np.sort(np.concatenate(column)).astype(np.int64) for column in columns))


def _pool(labels: NDArray[Any], spec: PoolSplit, n_classes: int) -> list[tuple[Indices, Indices, Indices]]:
    """Split the whole pool per class, after withholding."""
    chosen = []
    for rows in _shuffled(labels, n_classes, spec.seed):
        rest = rows[spec.withhold_per_class :]
        train = share(spec.train, len(rest))
        stop = train + share(spec.validation, len(rest))
        chosen.append((rest[:train], rest[train:stop], rest[stop:]))
    return chosen


def _official(
    labels: NDArray[Any], spec: OfficialSplit, part_ranges: Mapping[str, tuple[int, int]], n_classes: int
) -> list[tuple[Indices, Indices, Indices]]:
    """Keep the test part; draw the subset, and then the validation set, from the training part."""
    for part in ("train", "test"):
        if part not in part_ranges:
            have = ", ".join(part_ranges) or "none"
            raise ConfigurationError(
                f"the official split needs the official {part} part, but the pool has only: {have}. "
                "Take both parts into the pool, or use the split `scheme: pool`"
            )
    start, stop = part_ranges["train"]
    test_start, test_stop = part_ranges["test"]
    shuffled = [rows + start for rows in _shuffled(labels[start:stop], n_classes, spec.seed)]
    if spec.subset is not None:
        sizes = _apportion(spec.subset, [len(rows) for rows in shuffled], "subset")
        shuffled = [rows[:size] for rows, size in zip(shuffled, sizes, strict=True)]
    available = [len(rows) for rows in shuffled]
    if isinstance(spec.validation, int):
        held_out = _apportion(spec.validation, available, "validation")
    else:
        held_out = [share(spec.validation, size) for size in available]
    test = _by_class(labels[test_start:test_stop], n_classes)
    return [
        (rows[size:], rows[:size], tested + test_start)
        for rows, size, tested in zip(shuffled, held_out, test, strict=True)
    ]


def _by_class(labels: NDArray[Any], n_classes: int) -> list[Indices]:
    """Rows of each class, in order."""
    order = np.argsort(labels, kind="stable")
    stops = np.cumsum(np.bincount(labels, minlength=n_classes))
    return [rows.astype(np.int64) for rows in np.split(order, stops[:-1])]


def _shuffled(labels: NDArray[Any], n_classes: int, seed: int) -> list[Indices]:
    """Rows of each class, in an order drawn for this seed and class."""
    shuffled = []
    for label, rows in enumerate(_by_class(labels, n_classes)):
        keys = np.random.PCG64(np.random.SeedSequence([seed, label])).random_raw(len(rows))
        shuffled.append(rows[np.argsort(keys, kind="stable")])
    return shuffled


def _apportion(total: int, available: Sequence[int], what: str) -> list[int]:
    """Distribute ``total`` over classes in proportion to their sizes, by largest remainder.

    >>> _apportion(10, [50, 30, 21], "subset")
    [5, 3, 2]
    """
    whole = sum(available)
    if total > whole:
        raise ConfigurationError(f"`{what}: {total}` asks for more images than the {whole} that there are")
    shares = [divmod(total * size, whole) for size in available]
    sizes = [share for share, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda label: (-shares[label][1], label))
    for label in by_remainder[: total - sum(sizes)]:
        sizes[label] += 1
    return sizes
