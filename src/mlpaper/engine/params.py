"""Parameters as one flat vector with named views.

Weights stand before biases, so that weight decay is one slice; an optimiser's state is one vector of the same layout.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mlpaper.engine.backend import Backend
from mlpaper.engine.typing import Array


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors of a network, weights first.

    >>> layout = Layout((("0.weight", (784, 10)),), (("0.bias", (10,)),))
    >>> layout.size, layout.weight_size, layout.offsets()["0.bias"]
    (7850, 7840, 7840)
    """

    weights: tuple[tuple[str, tuple[int, ...]], ...]
    biases: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def dense(cls, widths: tuple[int, ...]) -> Layout:
        """Layout of a multilayer perceptron with these widths, inputs and outputs included."""
        pairs = list(enumerate(itertools.pairwise(widths)))
        return cls(
            weights=tuple((f"{i}.weight", (inputs, outputs)) for i, (inputs, outputs) in pairs),
            biases=tuple((f"{i}.bias", (outputs,)) for i, (_, outputs) in pairs),
        )

    @property
    def tensors(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """All tensors, in the order of the flat vector."""
        return self.weights + self.biases

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
    """A flat vector of a layout, with a view for every tensor."""

    def __init__(self, backend: Backend, layout: Layout) -> None:
        self.layout = layout
        self.flat: Array = backend.zeros((layout.size,))
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
