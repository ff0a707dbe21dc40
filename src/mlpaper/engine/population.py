"""Populations: networks of one shape that differ by their seed and train side by side, as one.

Every array of parameters and of batches then has a leading axis with an entry for every member, and every operation
works on all of them: on a GPU, a network too small to keep it busy costs little more several times than once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.spec import RunSpec

Seeds: TypeAlias = int | tuple[int, ...]
"""The seed of a network, or those of a population's members."""
Members: TypeAlias = tuple[int, ...]
"""Shape of the leading axis: () for a network by itself, (S,) for a population of S."""


def members_of(seeds: Seeds) -> Members:
    """The leading axis of what has these seeds.

    >>> members_of(7), members_of((7,)), members_of((0, 1, 2))
    ((), (1,), (3,))
    """
    return () if isinstance(seeds, int) else (len(seeds),)


def on_device(backend: Backend, seeds: Seeds) -> Scalar:
    """Seeds as operations take them: a number, or uint64 (S,) where the arrays are."""
    return seeds if isinstance(seeds, int) else backend.to_device(np.array(seeds, np.uint64))


def why_alone(specs: Sequence[RunSpec]) -> str | None:
    """Why these runs cannot be a population, or None."""
    first = specs[0]
    if any(spec.model_copy(update={"seed": first.seed}) != first for spec in specs):
        return "they differ by more than their seed"
    if len({spec.seed for spec in specs}) < len(specs):
        return "their seeds are not distinct"
    if first.engine != "mlpaper":
        return f"the engine {first.engine} trains one run at a time"
    if first.clip_norm is not None:
        return "a norm to clip is that of one run's gradients, and those of a population lie in one vector"
    return None


def populations(groups: Iterable[Sequence[RunSpec]]) -> list[tuple[RunSpec, ...]]:
    """Those of the groups, each the seeds of one run, that can train side by side; no run is in two of them.

    >>> a, b, c = (RunSpec(dataset={"name": "digits"}, seed=seed) for seed in range(3))
    >>> [[spec.seed for spec in group] for group in populations([[a, b], [a, b, c], [], [c]])]
    [[0, 1]]
    """
    found: list[tuple[RunSpec, ...]] = []
    taken: set[str] = set()
    for group in groups:
        left = tuple(spec for spec in group if spec.id not in taken)
        if len(left) > 1 and why_alone(left) is None:
            found.append(left)
            taken |= {spec.id for spec in left}
    return found


class Buffer:
    """Memory for batches of up to `rows` rows of every member, given out at a batch's size.

    A row has `width` numbers; where no width is given it is one number.
    """

    def __init__(self, backend: Backend, members: Members, rows: int, *width: int, dtype: Any = None) -> None:
        self.members, self.width = members, width
        self.flat: Array = backend.empty((prod((*members, rows, *width)),), dtype)

    def __call__(self, count: int) -> Array:
        """The part for `count` rows, without gaps: (N, W) or (S, N, W), or where no width is given (N,) or (S, N)."""
        shape = (*self.members, count, *self.width)
        return self.flat[: prod(shape)].reshape(shape)
