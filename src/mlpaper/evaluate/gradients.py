"""L2 norms of the gradient with respect to every weight matrix, at initialisation and after training.

Both moments see the same batch of training images, without augmentation: the first `IMAGES` in the order of the run's
first epoch, or all if there are fewer. The gradient is that of the run's own loss, as a mean over the batch whatever
its reduction, without weight decay and clipping.

Batch norm normalises by this batch, as it does in training: its running statistics do not fit the initial weights.
Dropout is off, so that the norms belong to the weights and not to one draw of masks. The weights are the run's, in
float32; the rest is float64, so that what vanishes does so in the network and not in the format of its numbers.

A run of the engine `torch` has weights of the same layout, from the same initial ones: its gradients are computed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend as backends
from mlpaper.engine import losses
from mlpaper.engine.arrays import Array
from mlpaper.engine.batches import Batches
from mlpaper.engine.losses import Loss
from mlpaper.engine.network import Network
from mlpaper.engine.rng import permutation
from mlpaper.evaluate.predict import load_run
from mlpaper.files import read_npz, write_parquet
from mlpaper.spec import RunSpec

IMAGES = 2048
"""Most images that the gradient is a mean over."""

MOMENTS = ("initialisation", "trained")
COLUMNS = {"moment": np.str_, "layer": np.int64, "inputs": np.int64, "outputs": np.int64, "norm": np.float64}
"""Columns of `gradients.parquet` and their types; layer 0 is the weight matrix next to the pixels."""

TRAINING = 1
"""Any update: batch norm uses the batch."""


def gradients_of_run(run: Path, pool: Path, split_file: Path) -> None:
    """Write ``gradients.parquet`` into the folder `run`; after training, the norms of a diverged run are NaN."""
    dataset, split = Dataset.open(pool), Split.read(split_file)
    spec, outcome = load_run(run)
    backend = backends.select("reference", np.float64)
    sample = split.train[backend.to_host(permutation(backend, len(split.train), spec.seed, 0))[:IMAGES]]
    options = spec.network.model_copy(update={"dropout": 0.0})
    network = Network(backend, options, dataset.images.shape[1], len(dataset.classes), len(sample))
    loss = _mean_loss(spec, network, np.bincount(dataset.labels[split.train], minlength=len(dataset.classes)))
    x, labels = Batches(backend, dataset.images, dataset.labels, spec.input, len(sample)).load(sample)
    states = [initial_state(spec, network)]
    if outcome["outcome"] != "diverged":
        states.append(read_npz(run / "weights.npz")["state"])
    norms: list[list[float]] = []
    for state in states:
        network.state[...] = backend.to_device(state)
        norms.append(weight_gradient_norms(network, loss, x, labels))
    write_parquet(run / "gradients.parquet", _columns(network, norms))


def initial_state(spec: RunSpec, network: Network) -> np.ndarray:
    """State of a network like `network` before the first update of the run `spec`, float32."""
    backend = backends.select("reference")
    initial = Network(backend, network.options, network.widths[0], network.widths[-1], 1, spec.seed)
    return backend.to_host(initial.state)


def weight_gradient_norms(network: Network, loss: Loss, x: Array, labels: Array) -> list[float]:
    """L2 norm of the gradient with respect to every weight matrix, input side first, over one batch."""
    backend = network.backend
    outputs = network.forward(x, TRAINING)
    network.backward(loss.gradient(outputs, labels, backend.zeros((3,), np.float64)))
    names = [name for name, _ in network.gradients.layout.weights]
    return [float(np.linalg.norm(backend.to_host(network.gradients[name]))) for name in names]


def _mean_loss(spec: RunSpec, network: Network, class_counts: np.ndarray) -> Loss:
    return losses.build(network.backend, spec.loss.model_copy(update={"reduction": "mean"}), network.rows, class_counts)


def _columns(network: Network, norms: list[list[float]]) -> dict[str, np.ndarray]:
    """A row per moment and weight matrix; where a moment has no norms they are NaN."""
    shapes = [shape for _, shape in network.gradients.layout.weights]
    nothing = [float("nan")] * len(shapes)
    rows: list[tuple[Any, ...]] = [
        (moment, layer, *shape, norm)
        for moment, of_moment in zip(MOMENTS, (*norms, nothing), strict=False)
        for layer, (shape, norm) in enumerate(zip(shapes, of_moment, strict=True))
    ]
    return {
        name: np.asarray(column, COLUMNS[name]) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }
