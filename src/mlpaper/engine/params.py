"""Parameters as one flat vector with named views.

Weights stand before all else, so that weight decay is one slice; an optimiser's state is one vector of the same layout.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend

Tensors = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors of a network, weights first.

    >>> layout = Layout.of((784, 10), batch_norm=False)
    >>> layout.size, layout.weight_size, layout.offsets()["0.bias"]
    (7850, 7840, 7840)
    """

    weights: tuple[tuple[str, tuple[int, int]], ...]
    others: Tensors
    """Biases, and scale (gamma) and shift (beta) of batch norms."""

    @classmethod
    def of(cls, widths: tuple[int, ...], batch_norm: bool) -> Layout:
        """Layout of a multilayer perceptron with these widths, inputs and outputs included."""
        pairs = list(enumerate(itertools.pairwise(widths)))
        others = [(f"{i}.bias", (outputs,)) for i, (_, outputs) in pairs]
        if batch_norm:
            others += [(f"{i}.{name}", (width,)) for i, (_, width) in pairs[:-1] for name in ("gamma", "beta")]
        return cls(tuple((f"{i}.weight", shape) for i, shape in pairs), tuple(others))

    @property
    def tensors(self) -> Tensors:
        """All tensors, in the order of the flat vector."""
        return self.weights + self.others

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for _, shape in self.tensors)

    @property
    def weight_size(self) -> int:
        """Number of weights, which are ``flat[:weight_size]``."""
        return sum(math.prod(shape) for _, shape in self.weights)

    def offsets(self) -> dict[str, int]:
        """First index of every tensor in the flat vector."""
        offsets, position = {}, 0
        for name, shape in self.tensors:
            offsets[name] = position
            position += math.prod(shape)
        return offsets


class Vector:
    """A flat vector of a layout, with a view for every tensor; in `storage` where it is given."""

    def __init__(self, backend: Backend, layout: Layout, storage: Array | None = None) -> None:
        self.layout = layout
        self.flat: Array = backend.zeros((layout.size,)) if storage is None else storage
        offsets = layout.offsets()
        self.views: dict[str, Array] = {
            name: self.flat[offsets[name] : offsets[name] + math.prod(shape)].reshape(shape)
            for name, shape in layout.tensors
        }

    @property
    def weights(self) -> Array:
        """The part of the vector that holds the weights."""
        return self.flat[: self.layout.weight_size]

    def __getitem__(self, name: str) -> Array:
        return self.views[name]
