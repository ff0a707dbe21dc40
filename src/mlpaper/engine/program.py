"""The compiled way through an epoch: a run's network, loss and optimiser as data for the compiled loop.

`layers`, `losses` and `optim` say what a network computes, one call of an operation at a time; that costs microseconds
per call, which is most of the time of a small batch. Here a network is written down as a table of instructions, and one
compiled loop (`loop`) carries it out for all updates of an epoch. A test holds the two ways against each other for
every kind of layer, loss and optimiser.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.instructions import (
    ACTIVATION,
    ACTIVATIONS,
    ADAM,
    ADD,
    BATCH_NORM,
    DENSE,
    DESCENT,
    DROPOUT,
    INSTRUCTION,
    LARGE,
    LOSSES,
    MOMENTUM,
    NESTEROV,
    PIXELS,
    SETTINGS,
    Memory,
)
from mlpaper.engine.layers import IN_PLACE, OF_VALUE, BatchNorm
from mlpaper.engine.losses import Loss, WeightedCrossEntropy
from mlpaper.engine.network import Network
from mlpaper.engine.ops import native
from mlpaper.engine.ops.tiling import DEPTH, EIGHT, IMAGES, ROWS, VECTOR_BYTES, panel_columns
from mlpaper.engine.rng import Stream
from mlpaper.spec import SGD, RunSpec

CALL = 1e11
"""Multiplications and additions in one call of compiled code, about a second: between calls, Ctrl-C is heard."""


@cache
def _loop(real: str) -> Any:
    """The compiled loop for parameters of a type; see `loop.make` for its arguments."""

    def make() -> Any:
        from mlpaper.engine import loop

        return loop.make(np.dtype(real).type)

    integer, address = ctypes.c_int64, ctypes.c_void_p
    arrays = (address, address, address)
    prototype = ctypes.CFUNCTYPE(None, address, integer, address, integer, integer, integer, *arrays)
    return native.load(f"loop-{real}", make, prototype)


def compile_ahead() -> None:
    """Have the loop of training in single precision compiled and kept, for jobs to come."""
    _loop("float32")


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An array that begins where a vector register would like it to."""
    raw = np.empty(size * dtype.itemsize + VECTOR_BYTES, np.uint8)
    offset = -raw.ctypes.data % VECTOR_BYTES
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


class _Writer:
    """Writes the instructions of a network, and gives out the places."""

    def __init__(self, network: Network) -> None:
        self.options, self.offsets = network.options, network.parameters.layout.offsets()
        self.widths = network.widths
        self.code: list[dict[str, int]] = []
        self.columns = 0
        self.mask_columns = 0

    def instructions(self) -> np.ndarray:
        """The whole network, as `Network.layers` has it."""
        depth, block = len(self.options.hidden), self.options.residual
        place = 0
        for i in range(depth):
            first, last = bool(block) and i > 0 and (i - 1) % block == 0, bool(block) and i > 0 and i % block == 0
            if first:
                begin, beginning = place, len(self.code)
            place = self._affine(i, place)
            if last:
                self._write(ADD, i + 1, x=begin, y=place)
                self.code[beginning]["skip"] = place
            place = self._after(i, place)
        self._affine(depth, place)
        table = np.zeros(len(self.code), INSTRUCTION)
        for number, fields in enumerate(self.code):
            for name, value in fields.items():
                table[number][name] = value
        return table

    def _affine(self, i: int, x: int) -> int:
        y = self._place(i + 1)
        w, b = self.offsets[f"{i}.weight"], self.offsets[f"{i}.bias"]
        hidden, relu = i < len(self.options.hidden), self.options.activation == "relu"
        zeros = {"x_zeros": relu and i > 0, "y_zeros": relu and hidden and not self.options.batch_norm}
        self._write(DENSE if i else PIXELS, i + 1, x=x, y=y, w=w, b=b, inputs=self.widths[i], **zeros)
        if not self.options.batch_norm or i == len(self.options.hidden):
            return y
        normalised, kept = self._place(i + 1), self._place(i + 1)
        gamma, beta = self.offsets[f"{i}.gamma"], self.offsets[f"{i}.beta"]
        begin = sum(self.options.hidden[:i])
        self._write(BATCH_NORM, i + 1, x=y, y=normalised, w=gamma, b=beta, kept=kept, number=begin)
        return normalised

    def _after(self, i: int, x: int) -> int:
        y = x if self.options.activation in IN_PLACE else self._place(i + 1)
        if self.options.activation == "relu" and self.code[-1]["kind"] in (PIXELS, DENSE):
            self.code[-1]["relu"] = True
        else:
            self._write(ACTIVATION + ACTIVATIONS.index(self.options.activation), i + 1, x=x, y=y)
        if self.options.dropout:
            stream = Stream.DROPOUT + Stream.OF_LAYER * i
            dropped = self._place(i + 1) if self.options.activation in OF_VALUE else y
            self._write(DROPOUT, i + 1, x=y, y=dropped, kept=self.mask_columns, number=stream)
            self.mask_columns += self.widths[i + 1]
            return dropped
        return y

    def _place(self, layer: int) -> int:
        begin, self.columns = self.columns, self.columns + self.widths[layer]
        return begin

    def _write(self, kind: int, layer: int, **fields: int) -> None:
        width = self.widths[layer]
        self.code.append({"kind": kind, "inputs": width, "outputs": width, "skip": -1} | fields)


class Program:
    """A run's network, loss and optimiser, compiled; weights and optimiser state are those of the objects given.

    Parameters
    ----------
    images, labels
        The whole pool: uint8 (M, D), integers (M,).
    table
        Network input of every value of a pixel, (256,).
    batch_size
        Images per update.
    """

    placement = None
    """A GPU's matter."""

    def __init__(
        self,
        spec: RunSpec,
        backend: Backend,
        network: Network,
        loss: Loss,
        optimizer_state: dict[str, Array],
        images: np.ndarray,
        labels: np.ndarray,
        table: np.ndarray,
        batch_size: int,
    ) -> None:
        writer = _Writer(network)
        code, widths = writer.instructions(), network.widths
        self.batch_size = batch_size
        self.calls = max(1, int(CALL / (6 * network.parameters.layout.weight_size * batch_size)))
        """Updates in one call of compiled code."""
        self.rows = -(-max(batch_size, IMAGES) // VECTOR_BYTES) * VECTOR_BYTES
        widest, real = max(widths[1:]), backend.dtype
        of_rows, of_units = self.rows // ROWS + 1, widest // ROWS + 1
        terms = max(of_rows * min(DEPTH, widest), of_units * min(DEPTH, self.rows), IMAGES * (widths[0] + ROWS))
        vectors = [*optimizer_state.values(), np.empty(0, real), np.empty(0, real)]
        large = np.any((code["kind"] == DENSE) & (code["inputs"] * code["outputs"] >= LARGE))
        self.memory = Memory(
            code=code,
            settings=_settings(spec, network, isinstance(loss, WeightedCrossEntropy), float(table[0])),
            images=np.ascontiguousarray(images),
            labels=np.ascontiguousarray(labels, np.int64),
            table=table - table[0],
            theta=network.parameters.flat,
            gradient=network.gradients.flat,
            first=vectors[0],
            second=vectors[1],
            statistics=network.statistics,
            means=np.empty(network.statistics.shape[1], real),
            variances=np.empty(network.statistics.shape[1], real),
            targets=loss.targets if isinstance(loss, WeightedCrossEntropy) else np.empty((0, 0), real),
            class_weights=loss.weights if isinstance(loss, WeightedCrossEntropy) else np.empty(0, real),
            space=aligned(self.rows * writer.columns, real),
            gradient_space=aligned(self.rows * writer.columns, real),
            kept=np.empty(self.rows * writer.mask_columns, np.uint8),
            chosen=np.empty(self.rows, np.int64),
            index=np.empty(self.rows, np.int64),
            position=np.empty(self.rows, np.int64),
            ends=np.empty(widths[-1], np.int64),
            row=np.empty(2 * widest, real),
            zeros=np.zeros(widest, real),
            words=np.empty(widest + 3, np.uint32),
            work=aligned(max(DEPTH, widths[0]) * (widest + ROWS + panel_columns(real.itemsize)), real),
            block=np.empty((IMAGES, widths[0]), np.uint8),
            packed=aligned(IMAGES * (widths[0] + ROWS), real),
            places=np.empty(terms + EIGHT, np.int32),
            counts=np.empty(max(of_rows, of_units, widths[0] // ROWS + 1), np.int64),
            gemm=np.array([native.address_of_gemm(real) if large else 0], np.int64),
        )
        self.addresses = self.memory.addresses(real)
        self.call = _loop(real.name)

    def train(self, order: np.ndarray, done: int, rates: np.ndarray, losses: np.ndarray, totals: np.ndarray) -> None:
        """An update for every batch of the images `order`, the last of which may be smaller.

        `done` updates were made before; `rates` holds the learning rate of each, and `losses` receives the mean loss
        of each batch, both float64. `totals` as in `losses.Loss.gradient`.
        """
        size = self.batch_size
        for begin in range(0, len(rates), self.calls):
            part, images = slice(begin, begin + self.calls), order[begin * size : (begin + self.calls) * size]
            self._run(images, size, done + begin, rates[part], losses[part], totals)

    def evaluate(self, order: np.ndarray, totals: np.ndarray, rows: int = IMAGES) -> None:
        """Add losses and correct predictions of the images `order` to `totals`; nothing else changes.

        However many `rows` are asked for at a time, they go through the network in blocks of `IMAGES`.
        """
        nothing = np.empty(0)
        self._run(order, IMAGES, -1, nothing, nothing, totals)

    def _run(
        self, order: np.ndarray, batch: int, done: int, rates: np.ndarray, losses: np.ndarray, totals: np.ndarray
    ) -> None:
        """One call of the loop: `batch` images of `order` at a time, after `done` updates; -1 for evaluation."""
        order = np.ascontiguousarray(order, np.int64)
        for array in (rates, losses, totals):
            if array.dtype != np.float64 or not array.flags.c_contiguous:
                raise TypeError("rates, losses and totals must be float64, contiguous")
        addresses, images, *numbers = (array.ctypes.data for array in (self.addresses, order, rates, losses, totals))
        self.call(addresses, self.rows, images, len(order), batch, done, *numbers)


def _settings(spec: RunSpec, network: Network, weighted: bool, background: float) -> np.ndarray:
    options, layout = spec.optimizer, network.parameters.layout
    settings = np.zeros(1, SETTINGS)
    values: dict[str, float] = {
        "loss": LOSSES.index("weighted_cross_entropy" if weighted else spec.loss.name),
        "mean": spec.loss.reduction == "mean",
        "clip": spec.clip_norm or 0.0,
        "l2": spec.decay.l2,
        "decoupled": spec.decay.decoupled,
        "decaying": layout.size if spec.decay.parameters == "all" else layout.weight_size,
        "weights": layout.weight_size,
        "dropout": spec.network.dropout,
        "seed": spec.seed,
        "share_of_batch": BatchNorm.MOMENTUM,
        "epsilon_of_variance": BatchNorm.EPSILON,
        "background": background,
    }
    if isinstance(options, SGD):
        values |= {"mu": options.momentum}
        values["optimizer"] = (NESTEROV if options.nesterov else MOMENTUM) if options.momentum else DESCENT
    else:
        values |= {"beta1": options.beta1, "beta2": options.beta2, "epsilon": options.epsilon, "optimizer": ADAM}
    plain = values["optimizer"] == DESCENT and not (values["clip"] or values["l2"] or values["decoupled"])
    values["direct"] = plain and background == 0
    for name, value in values.items():
        settings[name] = value
    return settings
