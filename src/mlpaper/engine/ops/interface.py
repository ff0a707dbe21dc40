"""What the compiled loop (`loop`) reads and writes: its settings, and every array, in one list.

Nothing here needs the compiler.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeAlias, get_args, get_type_hints

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.network import STEP

TRAIN, EVALUATE, GRADIENT = range(3)
"""What a call of the loop does."""
GRADIENT_SCALE = 2.0**64
"""Factor of the gradients in the mode GRADIENT: they are exact multiples, and what is below 1e-38 does not vanish."""
LOSSES = ("cross_entropy", "weighted_cross_entropy", "squared_error", "absolute_error")
CROSS_ENTROPY, WEIGHTED_CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR = range(len(LOSSES))
RULES = ("sgd", "momentum", "nesterov", "adam")
DESCENT, MOMENTUM, NESTEROV, ADAM = range(len(RULES))

SETTINGS = np.dtype(
    [
        ("loss", np.int64),  # number in LOSSES
        ("mean", np.int64),  # whether the gradient is that of the batch's mean loss, not of the sum
        ("rule", np.int64),  # number in RULES
        ("direct", np.int64),  # whether products add gradients to the weights at once, without storing them
        ("mu", np.float64),
        ("beta1", np.float64),
        ("beta2", np.float64),
        ("epsilon", np.float64),
        ("clip", np.float64),  # 0 for none
        ("l2", np.float64),
        ("decoupled", np.float64),
        ("decaying", np.int64),  # number of parameters that decay; they come first
        ("weights", np.int64),  # number of weights, which come first
        ("dropout", np.float64),
        ("seed", np.uint64),
        ("background", np.float64),  # network input of a pixel of value 0
    ],
    align=True,
)


class _Real:
    """Stands for the type of the parameters."""


_Vector: TypeAlias = Annotated[Array, _Real, 1]
_Matrix: TypeAlias = Annotated[Array, _Real, 2]
_Integers: TypeAlias = Annotated[Array, np.int64, 1]


class Memory(NamedTuple):
    """All arrays of a run: the type says element type and dimensions. N is the largest batch."""

    steps: Annotated[Array, STEP, 1]
    settings: Annotated[Array, SETTINGS, 1]
    images: Annotated[Array, np.uint8, 2]
    """Stored images, (M, D)."""
    labels: _Integers
    """(M,)."""
    inputs: _Vector
    """Inputs that take the place of the images, (n D,); nothing where there are none."""
    outputs: _Matrix
    """Receives log-probabilities, (n, K); (0, 0) where nobody asks for them."""
    confidence: _Vector
    """Receives the probability of the prediction, (n,)."""
    table: _Vector
    """Network input of every pixel value, less that of the background, (256,)."""
    theta: _Vector
    gradient: _Vector
    first: _Vector
    """First vector of the optimiser's state: velocity, or Adam's m."""
    second: _Vector
    """Adam's v."""
    statistics: _Matrix
    """Running means and variances, (2, sum of widths)."""
    means: _Vector
    """Those of the last batch, (sum of widths,)."""
    variances: _Vector
    targets: _Matrix
    """Targets of every label (K, K), see `losses.Loss`."""
    class_weights: _Vector
    values: _Vector
    """The arena of activations."""
    gradients: _Vector
    """The arena of their gradients."""
    masks: Annotated[Array, np.uint8, 1]
    """Dropout's masks: 1 where a unit is kept."""
    chosen: _Integers
    """Labels of the batch, (N,)."""
    index: _Integers
    """Its images, sorted by label, (N,)."""
    position: _Integers
    """Where they were in the batch as drawn, (N,)."""
    ends: _Integers
    """Scratch space for counting, (K,)."""
    row: _Vector
    """Scratch space: two rows of the largest width."""
    zeros: _Vector
    """A row of zeros of the largest width."""
    words: Annotated[Array, np.uint32, 1]
    """Random words of a row of the largest width."""
    work: _Vector
    """From here on: scratch space of the products, see `product.Scratch`."""
    block: Annotated[Array, np.uint8, 2]
    packed: _Vector
    places: Annotated[Array, np.int32, 1]
    counts: _Integers


def _elements() -> dict[str, tuple[Any, int]]:
    hints = get_type_hints(Memory, include_extras=True)
    return {name: get_args(hints[name])[1:] for name in Memory._fields}


ELEMENTS = _elements()
"""Element type and dimensions of every array of `Memory`."""


def element_type(name: str, real: np.dtype[Any]) -> np.dtype[Any]:
    """Element type of an array of `Memory` where parameters are of the type `real`."""
    kind = ELEMENTS[name][0]
    return real if kind is _Real else np.dtype(kind)


def addresses(memory: Memory, real: np.dtype[Any]) -> np.ndarray:
    """Address, rows and columns of every array, int64 (fields, 3), as the compiled loop takes them.

    Raises
    ------
    TypeError
        An array is not of its type, or not contiguous: compiled code would not notice.
    """
    table = np.ones((len(memory), 3), np.int64)
    for row, name, array in zip(table, Memory._fields, memory, strict=True):
        kind, dimensions = element_type(name, real), ELEMENTS[name][1]
        if array.dtype != kind or array.ndim != dimensions or not array.flags.c_contiguous:
            raise TypeError(f"{name} is {array.dtype} of shape {array.shape}; it must be {kind}, contiguous")
        row[: 1 + array.ndim] = array.ctypes.data, *array.shape
    return table
