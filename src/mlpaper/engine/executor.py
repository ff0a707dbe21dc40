"""What carries out a network's steps: an executor, chosen once for a run and passed to the trainer.

`readable` interprets the steps with the reference operations, `compiled` runs them in one compiled loop on the CPU,
`graphed` is the readable one on a GPU, and the referee (`mlpaper.torch_twin`) is PyTorch's.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.augment import Augmenter
from mlpaper.engine.backend import Backend
from mlpaper.engine.losses import Loss
from mlpaper.engine.model import Model
from mlpaper.engine.network import describe
from mlpaper.engine.optim import Optimizer
from mlpaper.errors import ConfigurationError
from mlpaper.spec import InputSpec, RunSpec

REFEREE = "mlpaper.torch_twin"
"""Imported by name, so that its code is not part of the digest of the engine's."""
EVALUATION_ROWS = 2048
"""Images per batch where nothing is trained."""


class Pool(NamedTuple):
    """The images that a run may use."""

    images: np.ndarray
    """uint8 (M, D); may be memory-mapped."""
    labels: np.ndarray
    """Integers (M,)."""
    classes: int
    """Number of classes K."""


class Updates(NamedTuple):
    """What some updates reported; the network is that of the time before each update."""

    loss_sum: float
    """Over all images, in nats."""
    correct: int
    """Correct predictions."""
    finite: int
    """Updates before the first whose loss was not finite."""
    losses: np.ndarray
    """Mean loss of every update, float64 (U,); NaN where the specification does not record steps."""


class Predictions(NamedTuple):
    """What a network says about some inputs, on the host."""

    log_probabilities: np.ndarray
    """Log-softmax of the outputs, in nats (N, K)."""
    confidence: np.ndarray
    """Probability of the most probable class (N,)."""


def pixel_table(options: InputSpec) -> np.ndarray:
    """Network input of every pixel value 0..255, float64: (pixel / 255 - mean) / std."""
    return (np.arange(256) / 255 - options.mean) / options.std


class Executor(ABC):
    """One run's network with its optimiser, on some device.

    Parameters
    ----------
    train
        Training images, as indices into the pool.
    batch_size
        Images per update; that of the specification if not given.

    Attributes
    ----------
    model, optimizer
        All that training changes.
    placement
        Where a GPU finds the images: ``resident`` or ``streamed``.
    """

    placement: str | None = None

    def __init__(
        self, spec: RunSpec, backend: Backend, pool: Pool, train: np.ndarray, batch_size: int | None = None
    ) -> None:
        self.spec, self.backend, self.pool = spec, backend, pool
        self.batch_size = batch_size or spec.batch_of(len(train))
        self.network = describe(spec.network, pool.images.shape[1], pool.classes)
        self.model = Model(backend, self.network, spec.seed)
        self.loss = Loss(backend, spec.loss, np.bincount(pool.labels[train], minlength=pool.classes))
        self.optimizer = Optimizer(backend, spec, self.network.layout)
        self.augmenter = Augmenter(backend, spec, pool.images.shape[1])
        self.table: Array = backend.to_device(pixel_table(spec.input).astype(backend.dtype))

    @abstractmethod
    def train(self, order: Array, rates: np.ndarray, done: int, epoch: int) -> Updates:
        """An update for every batch of the images `order`; the last batch may be smaller.

        Parameters
        ----------
        order
            Indices into the pool, (n,), where the backend computes.
        rates
            Learning rate of every update, float64 (U,).
        done
            Updates made before.
        epoch
            Epochs made before.
        """

    @abstractmethod
    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """Mean loss in nats and accuracy over the images `index`; changes nothing."""

    @abstractmethod
    def predict(self, x: Array) -> Predictions:
        """Predictions from inputs (N, D), which lie where the backend computes."""

    @abstractmethod
    def gradient(self, x: Array, labels: np.ndarray) -> np.ndarray:
        """Gradient of the loss of one batch with respect to all parameters, float64 (P,); updates no parameter.

        Batch norm uses the batch, as in training. Shape: x (N, D) with N at most `batch_size`, labels (N,).
        """

    def inputs(self, index: np.ndarray) -> Array:
        """Network inputs (N, D) of the images `index`, where the backend computes."""
        return self.scaled(self.pool.images[index], self.table)

    def training_inputs(self, index: np.ndarray, epoch: int, first: int) -> Array:
        """Network inputs of the images `index`, from place `first` on in the order of an epoch: augmented if asked."""
        if not self.augmenter.active:
            return self.inputs(index)
        images = np.empty((len(index), self.pool.images.shape[1]), np.uint8)
        self.augmenter(self.pool.images, index, epoch, first, images)
        return self.scaled(images, self.table)

    def scaled(self, images: np.ndarray, table: Array) -> Array:
        """Images uint8 (N, D) with every pixel looked up in a table (256,), where the backend computes."""
        x, places = self.backend.empty(images.shape), self.backend.to_device(np.arange(len(images)))
        self.backend.ops.gather(self.backend.to_device(images), places, table, x)
        return x


def executor_for(
    spec: RunSpec,
    backend: Backend,
    pool: Pool,
    train: np.ndarray,
    batch_size: int | None = None,
    placement: str = "auto",
) -> Executor:
    """The executor of a run on a device; `placement` says where a GPU finds the images (`engine.placement`).

    Raises
    ------
    ConfigurationError
        The run is PyTorch's, and PyTorch is not installed.
    """
    if spec.engine == "torch":
        try:
            referee = importlib.import_module(REFEREE)
        except ImportError as error:
            raise ConfigurationError("this run is PyTorch's, which is not installed: make twin") from error
        made: Executor = referee.TorchExecutor(spec, backend, pool, train, batch_size)
        return made
    if backend.cuda is not None:
        from mlpaper.engine.graphed import GraphedExecutor

        return GraphedExecutor(spec, backend, pool, train, batch_size, placement)
    if backend.name == "cpu":
        from mlpaper.engine.compiled import CompiledExecutor

        return CompiledExecutor(spec, backend, pool, train, batch_size)
    from mlpaper.engine.readable import ReadableExecutor

    return ReadableExecutor(spec, backend, pool, train, batch_size)
