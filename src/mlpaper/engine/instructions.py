"""A run as data: what the compiled loop (`loop`) reads and writes, and `program` prepares.

The network is a table of instructions, the loss and the optimiser are a record of settings. Every value of the network
between two instructions has a place in `Memory.space`, and its gradient the same place in `Memory.gradient_space`; a
place is counted in numbers per sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlpaper.engine.arrays import Array

PIXELS, DENSE, BATCH_NORM, ADD, DROPOUT, ACTIVATION = range(6)
"""Kinds of instructions. PIXELS is the first dense layer, from stored images; ADD is the end of a residual block;
from ACTIVATION on they are the `ACTIVATIONS`."""
ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")
RELU, LEAKY_RELU, SIGMOID, TANH, GELU, SILU = range(ACTIVATION, ACTIVATION + len(ACTIVATIONS))

INSTRUCTION = np.dtype(
    [
        ("kind", np.int64),
        ("inputs", np.int64),  # width D of what is read
        ("outputs", np.int64),  # width H of what is written
        ("x", np.int64),  # place of what is read, or added
        ("y", np.int64),  # place of what is written
        ("w", np.int64),  # first index of weights, or of gamma, in the parameters
        ("b", np.int64),  # first index of biases, or of beta, in the parameters
        ("kept", np.int64),  # place of what batch norm and dropout keep for the way back
        ("skip", np.int64),  # place whose gradient is added to that of x: a residual block begins here; else -1
        ("number", np.int64),  # batch norm: first column of its statistics; dropout: stream of its random numbers
        ("relu", np.int64),  # dense layers: whether ReLU follows, as a part of this instruction
        ("x_zeros", np.int64),  # whether many of the numbers that are read are 0
        ("y_zeros", np.int64),  # whether many of the gradients of what is written are 0
    ],
    align=True,
)

CROSS_ENTROPY, WEIGHTED_CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR = range(4)
LOSSES = ("cross_entropy", "weighted_cross_entropy", "squared_error", "absolute_error")
LARGE = 1 << 20
"""Weights of a layer from which BLAS multiplies faster than `ops.product`, if that leaves out no terms."""

DESCENT, MOMENTUM, NESTEROV, ADAM = range(4)

SETTINGS = np.dtype(
    [
        ("loss", np.int64),
        ("mean", np.int64),  # whether the gradient is of the mean over the batch, not of the sum
        ("optimizer", np.int64),
        ("direct", np.int64),  # whether weights change as their gradients are computed, which are not kept
        ("mu", np.float64),
        ("beta1", np.float64),
        ("beta2", np.float64),
        ("epsilon", np.float64),
        ("clip", np.float64),  # 0 for none
        ("l2", np.float64),
        ("decoupled", np.float64),
        ("decaying", np.int64),  # so many parameters decay, from the first
        ("weights", np.int64),  # number of weights, which stand first
        ("dropout", np.float64),
        ("seed", np.uint64),
        ("share_of_batch", np.float64),  # momentum of batch norm's running statistics
        ("epsilon_of_variance", np.float64),  # batch norm's
        ("background", np.float64),  # network input of a pixel of value 0
    ],
    align=True,
)


class Memory(NamedTuple):
    """Everything the loop reads and writes; their types are in `TYPES`."""

    code: Array
    """(C,)."""
    settings: Array
    """(1,)."""
    images: Array
    """(M, D)."""
    labels: Array
    """(M,)."""
    table: Array
    """Network input of every value of a pixel, less that of the background: (256,)."""
    theta: Array
    gradient: Array
    first: Array
    """First vector of the optimiser's state: velocity, or Adam's m."""
    second: Array
    """Second vector: Adam's v."""
    statistics: Array
    """Running statistics (2, sum of widths)."""
    means: Array
    """Those of the last batch, (sum of widths,)."""
    variances: Array
    """(sum of widths,)."""
    targets: Array
    """(K, K): see `losses.WeightedCrossEntropy`."""
    class_weights: Array
    """(K,)."""
    space: Array
    gradient_space: Array
    kept: Array
    """Dropout's masks."""
    chosen: Array
    """Labels of the batch, (rows,)."""
    index: Array
    """Its images, in the order of their labels, (rows,)."""
    position: Array
    """Where in the batch as it was drawn they stood, (rows,)."""
    ends: Array
    """Space for a number per class, (K,)."""
    row: Array
    """Two rows of the largest width, for passing use."""
    zeros: Array
    """A row of zeros of the largest width."""
    words: Array
    """Random words for a row of the largest width."""
    work: Array
    """The space of the products begins here: `ops.product.Scratch`."""
    block: Array
    packed: Array
    places: Array
    counts: Array
    gemm: Array
    """Address of the function that `ops.blas.gemm` calls, (1,); 0 where no layer is as `LARGE`."""

    def addresses(self, real: np.dtype[Any]) -> np.ndarray:
        """Where every array lies, as compiled code takes it: ADDRESSES (1,). Parameters are of the type `real`.

        Raises
        ------
        TypeError
            An array is not of its type, or not contiguous: compiled code would not see that.
        """
        for name, array in zip(self._fields, self, strict=True):
            kind = np.dtype(TYPES.get(name, real))
            if array.dtype != kind or not array.flags.c_contiguous:
                raise TypeError(f"{name} is {array.dtype}, {array.flags.c_contiguous=}; it must be {kind}, contiguous")
        return np.array([tuple((array.ctypes.data, *array.shape, 1)[:3] for array in self)], ADDRESSES)


TYPES: dict[str, Any] = {
    "code": INSTRUCTION,
    "settings": SETTINGS,
    "images": np.uint8,
    "labels": np.int64,
    "kept": np.uint8,
    "chosen": np.int64,
    "index": np.int64,
    "position": np.int64,
    "ends": np.int64,
    "words": np.uint32,
    "block": np.uint8,
    "places": np.int32,
    "counts": np.int64,
    "gemm": np.int64,
}
"""Types of the arrays of `Memory` that do not have that of the parameters."""

ADDRESSES = np.dtype([(name, np.int64, (3,)) for name in Memory._fields])
"""Address, rows, and columns or 1 of every array of `Memory`."""
