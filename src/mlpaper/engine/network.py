"""A network as a table of steps: the one description that every executor carries out.

A step is a layer: ``y = dropout(f(batch_norm(x W + b) + skip))``. All but ``x W + b`` is optional. The values of a
batch lie in one arena, and their gradients in another of the same layout. A *place* says where an array of one value
per unit begins, in values per sample: an array at place p begins at element ``p N`` of an arena that was made for
batches of up to N. What is computed in place, and what fuses, is decided here and nowhere else.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple, dataclass, fields

import numpy as np

from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.rng import Stream
from mlpaper.spec import NetworkSpec

NONE = -1
"""A part that a step does not have."""
NAMES = tuple(ACTIVATIONS)
"""Activations by their number in a step."""

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance of a batch."""
BATCH_NORM_MOMENTUM = 0.1
"""Share of a batch in the running statistics: ``r <- (1 - momentum) r + momentum s``, as PyTorch has it."""


@dataclass(frozen=True)
class Step:
    """One layer. Places and offsets that it does not need are `NONE`."""

    inputs: int
    """D, the width of x."""
    outputs: int
    """H, the width of all others."""
    x: int
    """Place of the input; `NONE` in the first step, which reads images."""
    z: int
    """Place of ``x W + b``. Batch norm normalises it in place and keeps it for the way back."""
    s: int
    """Place of the activation's input; z itself without batch norm."""
    a: int
    """Place of the activation's output; s itself where the derivative is read off the output."""
    y: int
    """Place of the output; a itself unless dropout would destroy what the activation's derivative needs."""
    kept: int
    """Place of what the activation's derivative is read off: s or a."""
    skip: int
    """Place of what is added before the activation: the input of the residual block that ends here."""
    skip_gradient: int
    """Place of the gradient that is added to that of x: it is left by the end of the block that begins here."""
    mask: int
    """Place of dropout's mask in the arena of masks."""
    w: int
    """Offset of W (D, H) in the parameters; b, gamma and beta have H values each."""
    b: int
    gamma: int
    beta: int
    column: int
    """First column of batch norm's running statistics."""
    activation: int
    """Number in `NAMES`."""
    stream: int
    """Stream of dropout's random numbers."""
    relu: int
    """Whether ReLU is all that follows ``x W + b``, so that the product can end with it."""
    sparse_input: int
    """Whether many values of x are 0, so that products leave terms out."""
    sparse_gradient: int
    """Whether many gradients of z are 0."""


STEP = np.dtype([(field.name, np.int64) for field in fields(Step)], align=True)
"""A step as compiled code reads it."""


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron: its steps, the space they need, and the layout of its parameters."""

    options: NetworkSpec
    widths: tuple[int, ...]
    """Inputs D, hidden widths, classes K."""
    steps: tuple[Step, ...]
    columns: int
    """Values per sample in the arena."""
    mask_columns: int
    """Values per sample in the arena of masks."""

    @property
    def layout(self) -> Layout:
        """Names, shapes and offsets of the parameters."""
        return Layout.of(self.widths, self.options.batch_norm)

    def table(self) -> np.ndarray:
        """The steps as an array of `STEP`, (C,)."""
        return np.array([astuple(step) for step in self.steps], STEP)


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the parameters, in the order of one flat vector: all weights first, then all else.

    So weight decay is one slice, and an optimiser's state is a vector of the same layout.

    >>> layout = Layout.of((784, 10), batch_norm=False)
    >>> layout.size, layout.weight_size, layout.offsets["0.bias"]
    (7850, 7840, 7840)
    """

    shapes: dict[str, tuple[int, ...]]
    offsets: dict[str, int]
    size: int
    """Number of parameters."""
    weight_size: int
    """Number of weights."""

    @classmethod
    def of(cls, widths: tuple[int, ...], batch_norm: bool) -> Layout:
        """Layout of a multilayer perceptron with these widths, inputs and outputs included."""
        pairs = list(enumerate(itertools.pairwise(widths)))
        shapes: dict[str, tuple[int, ...]] = {f"{i}.weight": pair for i, pair in pairs}
        weight_size = sum(map(math.prod, shapes.values()))
        shapes |= {f"{i}.bias": (outputs,) for i, (_, outputs) in pairs}
        if batch_norm:
            shapes |= {f"{i}.{name}": (width,) for i, (_, width) in pairs[:-1] for name in ("gamma", "beta")}
        *offsets, size = itertools.accumulate(map(math.prod, shapes.values()), initial=0)
        return cls(shapes, dict(zip(shapes, offsets, strict=True)), size, weight_size)


def describe(options: NetworkSpec, inputs: int, classes: int) -> Network:
    """The network from `inputs` pixels to the logits of `classes`."""
    widths = (inputs, *options.hidden, classes)
    offsets = Layout.of(widths, options.batch_norm).offsets
    depth, block = len(options.hidden), options.residual
    activation, sparse = ACTIVATIONS[options.activation], options.activation == "relu"
    steps: list[dict[str, int]] = []
    place = mask = 0
    x = NONE
    for i, (width, outputs) in enumerate(itertools.pairwise(widths)):
        hidden, normalised = i < depth, options.batch_norm and i < depth
        ends_block = bool(block) and hidden and i > 0 and i % block == 0
        starts_block = bool(block) and hidden and i > 0 and (i - 1) % block == 0
        step = dict.fromkeys((field.name for field in fields(Step)), NONE)
        z = place
        s = z + outputs if normalised else z
        a = s + outputs if hidden and activation.kept == "input" else s
        y = a + outputs if hidden and options.dropout and not activation.sign_only and a == s else a
        step |= {"inputs": width, "outputs": outputs, "x": x, "z": z, "s": s, "a": a, "y": y}
        step |= {"w": offsets[f"{i}.weight"], "b": offsets[f"{i}.bias"]}
        step |= {"sparse_input": sparse and i > 0, "sparse_gradient": sparse and hidden and not normalised, "relu": 0}
        if normalised:
            step |= {name: offsets[f"{i}.{name}"] for name in ("gamma", "beta")}
            step["column"] = sum(options.hidden[:i])
        if starts_block:
            block_input, first = x, len(steps)
        if ends_block:
            step["skip"] = block_input
        if hidden:
            step |= {"activation": NAMES.index(options.activation), "kept": a if activation.kept == "output" else s}
            step["relu"] = sparse and not normalised and not ends_block
        if hidden and options.dropout:
            step |= {"mask": mask, "stream": Stream.DROPOUT + Stream.OF_LAYER * i}
            mask += outputs
        steps.append(step)
        if ends_block:
            steps[first]["skip_gradient"] = a
        place, x = y + outputs, y
    return Network(options, widths, tuple(Step(**step) for step in steps), place, mask)
