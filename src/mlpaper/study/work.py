"""How much work a run is, from its specification alone: what a cluster is asked for, and which runs share a job.

`mlpaper estimate` times the machine that it runs on. Here nothing is timed: a scheduler is told at least as much as an
older core needs, and the same plan gives the same requests everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from mlpaper.spec import OfficialSplit, RunSpec, share

MULTIPLICATIONS = 1e11
"""Per second of one core, in a large matrix product. Measured: 0.7e11 to 1.8e11."""
PIXELS = 1.5e9
"""Read and standardised per second."""
WEIGHTS = 2e9
"""Updated per second by an optimiser, besides products: it counts where batches are small."""
TORCH = 4.0
"""How much longer PyTorch takes than this engine, at most."""
SLOWER = 4.0
"""Time that is asked for, over the time that is expected: a core may be older, or shared."""
START = 2.0
"""Seconds of a job without updates and images."""
JOBS: Mapping[str, float] = {"seconds": 20.0, "minute": 80.0, "minutes": 300.0}
"""Groups of runs that share a job of a cluster, and the longest run of each, in seconds. A longer run has its own."""


class Images(NamedTuple):
    """The images of a pool, as they decide on the work: how many, pixels of each, classes; the official test part."""

    total: int
    pixels: int
    classes: int
    test_part: int


class Work(NamedTuple):
    """Seconds of one core to train and to score the test set once, and the memory of either in megabytes."""

    train: float
    test: float
    memory: int

    @property
    def group(self) -> str | None:
        """Which runs this one may share a job with; None for a long one."""
        return next((name for name, most in JOBS.items() if self.train <= most), None)


def work_of(spec: RunSpec, images: Images) -> Work:
    """What a run takes, if it does not stop early."""
    train, tested = _sizes(spec, images)
    batch = spec.batch_of(train)
    updates = spec.epochs * math.ceil(train / batch)
    updates = min(updates, spec.updates) if spec.updates else updates
    widths = [images.pixels, *spec.network.hidden, images.classes]
    weights = sum(before * after for before, after in pairwise(widths))
    slower = TORCH if spec.engine == "torch" else 1.0
    learned = updates * (batch * (3 * weights / MULTIPLICATIONS + images.pixels / PIXELS) + weights / WEIGHTS)
    scored = tested * (weights / MULTIPLICATIONS + images.pixels / PIXELS)
    floats = 8 * weights + 4 * max(batch, 4096) * sum(widths)  # optimiser, best weights; values and gradients
    base = 1500 if spec.engine == "torch" else 500
    memory = base + (4 * floats + images.total * images.pixels) / 1e6
    return Work(START + slower * learned, START + scored, 500 * math.ceil(memory / 500))


def _sizes(spec: RunSpec, images: Images) -> tuple[int, int]:
    """Images to train and to test on, to within a few of each class."""
    split = spec.split
    if not isinstance(split, OfficialSplit):
        count = max(images.total - split.withhold_per_class * images.classes, 2)
        train = share(split.train, count)
        return max(train, 1), count - train - share(split.validation, count)
    available = split.subset or images.total - images.test_part
    held_out = split.validation if isinstance(split.validation, int) else share(split.validation, available)
    return max(available - held_out, 1), images.test_part


def minutes(seconds: float) -> int:
    """What to ask a scheduler for: whole minutes, with room for a slower core.

    >>> minutes(2), minutes(60)
    (1, 4)
    """
    return math.ceil(SLOWER * seconds / 60)
