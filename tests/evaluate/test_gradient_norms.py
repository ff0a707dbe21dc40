"""Norms of gradients against PyTorch's automatic differentiation, on networks written out once more."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.model import Model, flat_state
from mlpaper.engine.network import describe
from mlpaper.engine.rng import permutation
from mlpaper.engine.train_job import train_run
from mlpaper.evaluate import gradients
from mlpaper.evaluate.predict import load_executor
from mlpaper.files import read_npz
from mlpaper.spec import PoolSpec, RunSpec

RUNS = {
    "plain": {"network": {"hidden": [7, 5], "initializer": "pytorch"}, "loss": {"reduction": "sum"}},
    "residual": {"network": {"hidden": [6] * 5, "residual": 2, "dropout": 0.3}, "decay": {"l2": 0.1}},
    "batch norm": {"network": {"hidden": [9, 6], "batch_norm": True}, "clip_norm": 1e-3},
    "both, standardised": {
        "network": {"hidden": [6] * 4, "residual": 1, "batch_norm": True, "activation": "tanh", "dropout": 0.2},
        "input": {"mean": 0.3, "std": 0.4},
        "augmentation": {"shift": 2},
        "seed": 3,
    },
    "weighted": {"network": {"hidden": []}, "loss": {"class_weights": "balanced", "label_smoothing": 0.1}},
    "squared error": {"network": {"hidden": [8]}, "loss": {"name": "squared_error", "reduction": "sum"}},
}


def _train(digits: Path, folder: Path, **fields: object) -> RunSpec:
    fields["loss"] = {"name": "cross_entropy"} | fields.get("loss", {})
    spec = RunSpec.model_validate({"dataset": PoolSpec(name="digits"), "batch_size": 64, "epochs": 2} | fields)
    train_run(spec, digits, digits / "split.npz", folder, folder / "checkpoint.npz", "test")
    gradients.gradients_of_run(folder, digits, digits / "split.npz")
    return spec


def _expected(spec: RunSpec, state: np.ndarray, images: np.ndarray, labels: np.ndarray, counts: np.ndarray):
    """L2 norms by PyTorch: tensors cut from the flat state, forward pass and loss as the specification says."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")
    hidden, options = spec.network.hidden, spec.network
    widths, state = [images.shape[1], *hidden, len(counts)], state.astype(np.float64)
    shapes = [*itertools.pairwise(widths), *((width,) for width in widths[1:])]
    shapes += [(width,) for width in hidden for _ in "gb"] if options.batch_norm else []
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    tensors = [torch.tensor(part.reshape(s)) for part, s in zip(np.split(state, ends), shapes, strict=False)]
    layers = len(widths) - 1
    weights, biases, scales = tensors[:layers], tensors[layers : 2 * layers], tensors[2 * layers :]
    for weight in weights:
        weight.requires_grad_()
    h = torch.tensor((images / 255 - spec.input.mean) / spec.input.std)
    for i in range(layers - 1):
        if options.residual and i > 0 and (i - 1) % options.residual == 0:
            kept = h
        h = h @ weights[i] + biases[i]
        if options.batch_norm:
            h = (h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=False) + 1e-5) * scales[2 * i] + scales[2 * i + 1]
        if options.residual and i > 0 and i % options.residual == 0:
            h = h + kept
        h = getattr(torch, options.activation)(h)
    h, y = h @ weights[-1] + biases[-1], torch.tensor(labels)
    if spec.loss.name == "squared_error":
        loss = ((h - torch.nn.functional.one_hot(y, len(counts))) ** 2).mean()
    else:
        balanced = torch.tensor(counts.sum() / (len(counts) * counts)) if spec.loss.class_weights else None
        smoothing = spec.loss.label_smoothing
        loss = torch.nn.functional.cross_entropy(h, y, weight=balanced, label_smoothing=smoothing)
    loss.backward()
    return [float(weight.grad.norm()) for weight in weights]


@pytest.mark.parametrize("engine", ["mlpaper", "torch"])
@pytest.mark.parametrize("name", RUNS)
def test_norms_are_those_of_automatic_differentiation(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, engine: str
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")
    monkeypatch.setattr(gradients, "IMAGES", 100)
    spec = _train(digits, tmp_path, engine=engine, **RUNS[name])
    dataset, split, cpu = Dataset.open(digits), Split.read(digits / "split.npz"), backend.select("cpu")
    sample = split.train[permutation(cpu, len(split.train), spec.seed, 0)[:100]]
    data = dataset.images[sample], dataset.labels[sample].astype(np.int64), np.bincount(dataset.labels[split.train])
    table = pd.read_parquet(tmp_path / "gradients.parquet")
    states = {
        "initialisation": Model(cpu, describe(spec.network, 784, 10), spec.seed).state,
        "trained": flat_state(read_npz(tmp_path / "weights.npz")),
    }
    assert list(table["moment"].unique()) == list(states)
    readable = backend.select("reference", np.float64)
    executor = load_executor(tmp_path, gradients.measured(spec), dataset, split.train, readable, 100)
    for moment, state in states.items():
        rows = table[table["moment"] == moment]
        expected = _expected(spec, state, *data)
        np.testing.assert_allclose(gradients.weight_gradient_norms(executor, state, sample), expected, rtol=1e-8)
        np.testing.assert_allclose(rows["norm"], expected, rtol=2e-5)  # single precision
        assert rows["layer"].tolist() == list(range(len(spec.network.hidden) + 1))
        shapes = itertools.pairwise([784, *spec.network.hidden, 10])
        assert list(zip(rows["inputs"], rows["outputs"], strict=True)) == list(shapes)


def test_what_is_too_small_for_single_precision_does_not_vanish() -> None:
    """Gradients of 1e-50 and less, far below the smallest float32."""
    rng, norms = np.random.default_rng(0), []
    pool = Pool(rng.integers(0, 256, (40, 9), np.uint8), rng.integers(0, 3, 40), 3)
    network = {"hidden": [8] * 24, "activation": "sigmoid", "initializer": {"name": "uniform", "bound": 0.05}}
    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "network": network, "batch_size": 40})
    for made in (backend.select("cpu"), backend.select("reference", np.float64)):
        executor = executor_for(spec, made, pool, np.arange(40))
        norms.append(gradients.weight_gradient_norms(executor, executor.model.state.copy(), np.arange(40)))
    assert norms[1][0] < 1e-42
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)


def test_a_small_training_set_is_taken_whole_and_a_diverged_run_has_no_norms_after_training(
    digits: Path, tmp_path: Path
) -> None:
    with np.errstate(all="ignore"):
        _train(digits, tmp_path, network={"hidden": [8]}, optimizer={"name": "sgd", "learning_rate": 1e30})
    norms = pd.read_parquet(tmp_path / "gradients.parquet").set_index(["moment", "layer"])["norm"]
    assert (norms["initialisation"] > 0).all()
    assert norms["trained"].isna().all()
    assert norms.shape == (4,)
