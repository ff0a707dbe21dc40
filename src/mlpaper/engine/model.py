"""Parameters and statistics of a network: one flat vector with named views, their initial values, and their file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.initializers import initial_values
from mlpaper.engine.network import Layout, Network
from mlpaper.errors import DataError

STATISTICS = ("running_mean", "running_variance")
"""Names of batch norm's running statistics, rows 0 and 1 of `Model.statistics`."""


class Model:
    """What training changes in a network.

    Attributes
    ----------
    state
        All of it in one flat vector: the parameters (`Layout`), then the running means of all batch norms, then their
        running variances.
    parameters, statistics
        Views into `state`: (P,), and (2, sum of hidden widths) or (2, 0) without batch norm.
    """

    def __init__(self, backend: Backend, network: Network, seed: int) -> None:
        self.backend, self.network = backend, network
        layout, columns = network.layout, sum(network.options.hidden) if network.options.batch_norm else 0
        self.state: Array = backend.zeros((layout.size + 2 * columns,))
        self.parameters: Array = self.state[: layout.size]
        self.statistics: Array = self.state[layout.size :].reshape(2, columns)
        self.statistics[1] = 1
        views = named_views(self.parameters, layout)
        for name, values in initial_values(layout, network.options.initializer, seed):
            views[name][...] = backend.to_device(values.astype(backend.dtype))

    def tensors(self) -> dict[str, np.ndarray]:
        """The content of ``weights.npz``: `i.weight` (D, H), `i.bias`, `i.gamma`, ..."""
        host = self.backend.to_host(self.state)
        size, hidden = self.network.layout.size, self.network.options.hidden
        named = named_views(host[:size], self.network.layout)
        statistics = host[size:].reshape(2, -1)
        for i, step in enumerate(self.network.steps[:-1] if statistics.size else ()):
            columns = slice(step.column, step.column + hidden[i])
            named |= {f"{i}.{name}": row[columns] for name, row in zip(STATISTICS, statistics, strict=True)}
        return named

    def load(self, tensors: Mapping[str, np.ndarray], where: str) -> None:
        """Put the tensors of a ``weights.npz`` in place; `where` names the file in errors.

        Raises
        ------
        DataError
            A tensor is missing, is not known, or has another shape.
        """
        wanted = self.tensors()
        if "state" in tensors and "state" not in wanted:
            raise DataError(f"{where} was written by an older version: remove the run's folder and train again")
        if {name: array.shape for name, array in tensors.items()} != {name: it.shape for name, it in wanted.items()}:
            raise DataError(f"{where} does not fit the network: remove the run's folder and train again")
        self.state[...] = self.backend.to_device(flat_state(tensors).astype(self.backend.dtype))


def flat_state(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The state vector of named tensors, the inverse of `Model.tensors`."""
    parameters = [name for name in tensors if not name.endswith(STATISTICS)]
    means, variances = ([name for name in tensors if name.endswith(kind)] for kind in STATISTICS)
    return np.concatenate([tensors[name].ravel() for name in (*parameters, *means, *variances)])


def named_views(flat: Array, layout: Layout) -> dict[str, Array]:
    """Views of all tensors in a flat vector of a layout."""
    return {
        name: flat[begin : begin + math.prod(shape)].reshape(shape)
        for (name, shape), begin in zip(layout.shapes.items(), layout.offsets.values(), strict=True)
    }
