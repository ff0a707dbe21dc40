"""L2 norms of the gradient with respect to every weight matrix, at initialisation and after training.

Both moments see the same batch of training images, without augmentation: the first `IMAGES` in the order of the run's
first epoch, or all if there are fewer. The gradient is that of the run's own loss, as a mean over the batch whatever
its reduction, without weight decay and clipping.

Batch norm normalises by this batch, as it does in training: its running statistics do not fit the initial weights.
Dropout is off, so that the norms belong to the weights and not to one draw of masks. The gradient is the engine's, in
single precision. It is computed as a multiple by a power of two and summed in double precision, so that what vanishes
does so in the network and not in the format of its numbers.

A run of the engine `torch` has weights of the same layout, from the same initial ones: its gradients are computed here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend as backends
from mlpaper.engine.executor import Executor
from mlpaper.engine.model import Model, named_views
from mlpaper.engine.network import Layout, Network
from mlpaper.engine.rng import permutation
from mlpaper.evaluate.predict import load_executor, load_run
from mlpaper.files import write_parquet
from mlpaper.spec import RunSpec

IMAGES = 2048
"""Most images that the gradient is a mean over."""

MOMENTS = ("initialisation", "trained")
COLUMNS = {"moment": np.str_, "layer": np.int64, "inputs": np.int64, "outputs": np.int64, "norm": np.float64}
"""Columns of `gradients.parquet` and their types; layer 0 is the weight matrix next to the pixels."""


def gradients_of_run(run: Path, pool: Path, split_file: Path) -> None:
    """Write ``gradients.parquet`` into the folder `run`; after training, the norms of a diverged run are NaN."""
    dataset, split = Dataset.open(pool), Split.read(split_file)
    spec, outcome = load_run(run)
    backend = backends.select("cpu")
    sample = split.train[backend.to_host(permutation(backend, len(split.train), spec.seed, 0))[:IMAGES]]
    executor = load_executor(run, measured(spec), dataset, split.train, backend, len(sample))
    diverged = outcome["outcome"] == "diverged"
    write_parquet(run / "gradients.parquet", norms_at_both_moments(spec, executor, sample, diverged))


def norms_at_both_moments(
    spec: RunSpec, executor: Executor, sample: np.ndarray, diverged: bool
) -> dict[str, np.ndarray]:
    """Columns of `gradients.parquet`, over the images `sample`; `executor` has the trained weights of the run."""
    trained = executor.model.state.copy()
    moments = [initial_state(spec, executor.network)] + [trained] * (not diverged)
    norms = [weight_gradient_norms(executor, state, sample) for state in moments]
    return _columns(executor.network.layout, norms)


def measured(spec: RunSpec) -> RunSpec:
    """The run with its loss as a mean, and without dropout."""
    network = spec.network.model_copy(update={"dropout": 0.0})
    return spec.model_copy(update={"network": network, "loss": spec.loss.model_copy(update={"reduction": "mean"})})


def initial_state(spec: RunSpec, network: Network) -> np.ndarray:
    """State of the model before the first update, float32."""
    state: np.ndarray = Model(backends.select("cpu"), network, spec.seed).state
    return state


def weight_gradient_norms(executor: Executor, state: np.ndarray, sample: np.ndarray) -> list[float]:
    """L2 norm of the gradient with respect to every weight matrix, input side first, over one batch.

    Squares are summed exactly (`math.fsum`), so that no processor has an order of its own.
    """
    executor.model.state[...] = state
    gradient = executor.gradient(executor.inputs(sample), executor.pool.labels[sample])
    views = named_views(gradient, executor.network.layout)
    weights = (view for name, view in views.items() if name.endswith("weight"))
    return [math.sqrt(math.fsum((view * view).ravel().tolist())) for view in weights]


def _columns(layout: Layout, norms: list[list[float]]) -> dict[str, np.ndarray]:
    """A row per moment and weight matrix; where a moment has no norms they are NaN."""
    shapes = [shape for name, shape in layout.shapes.items() if name.endswith("weight")]
    nothing = [float("nan")] * len(shapes)
    rows: list[tuple[Any, ...]] = [
        (moment, layer, *shape, norm)
        for moment, of_moment in zip(MOMENTS, (*norms, nothing), strict=False)
        for layer, (shape, norm) in enumerate(zip(shapes, of_moment, strict=True))
    ]
    return {
        name: np.asarray(column, COLUMNS[name]) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }
