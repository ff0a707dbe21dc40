"""The engine against PyTorch: the same specification, weights and batches, in float64 over ten updates."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from small_runs import make_trainer, spec_of

from mlpaper.engine import backend
from mlpaper.engine.train import Trainer
from mlpaper.spec import RunSpec

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")
from mlpaper.torch_twin import ACTIVATIONS  # noqa: E402

NETWORKS = {
    "linear": {"hidden": []},
    **{name: {"hidden": [9, 7], "activation": name} for name in ACTIVATIONS},
    "batch norm": {"hidden": [9, 7], "batch_norm": True},
    "dropout": {"hidden": [9, 7], "dropout": 0.3},
    **{f"{name}, dropout": {"hidden": [9, 7], "activation": name, "dropout": 0.3} for name in ACTIVATIONS},
    "residual": {"hidden": [8] * 4, "residual": 1},
    "residual of two": {"hidden": [8] * 5, "residual": 2, "activation": "silu", "batch_norm": True, "dropout": 0.2},
    "pytorch init": {"hidden": [9], "initializer": "pytorch"},
}  # fmt: skip
ADAM = {"name": "adam", "epsilon": 1e-4}
"""A bias before a batch norm has a gradient of rounding noise, which Adam with a tiny epsilon makes full steps of."""

OPTIMIZERS = {
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.05}},
    "momentum, L2": {"optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}, "decay": {"l2": 0.01}},
    "nesterov": {"optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True}},
    "adam, L2 on all": {"optimizer": ADAM, "decay": {"l2": 0.01, "parameters": "all"}},
    "adamw, clipped": {"optimizer": ADAM, "decay": {"decoupled": 0.1}, "clip_norm": 0.5},
    "sgd, decoupled": {"optimizer": {"name": "sgd", "learning_rate": 0.05}, "decay": {"decoupled": 0.1}},
}
LOSSES = {
    "mean": {"name": "cross_entropy"},
    "sum": {"name": "cross_entropy", "reduction": "sum"},
    "weighted": {"name": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1},
    "squared": {"name": "squared_error"},
    "absolute": {"name": "absolute_error", "reduction": "sum"},
}
SCHEDULES = {
    "linear": {"name": "linear", "alpha": 1e-3, "minimum": 1e-4},
    "step": {"name": "step", "every": 2, "gamma": 0.5, "per": "step"},
    "exponential": {"name": "exponential", "gamma": 0.9, "per": "step"},
    "cosine": {"name": "cosine", "warmup": 3, "per": "step"},
}
GRID = [
    *((network, "adam, L2 on all", "mean", "cosine") for network in NETWORKS),
    *itertools.product(["relu", "residual of two"], OPTIMIZERS, ["mean"], ["linear"]),
    *(("batch norm", "momentum, L2", loss, "step") for loss in LOSSES),
    *(("dropout", "adamw, clipped", "weighted", schedule) for schedule in SCHEDULES),
]


@pytest.mark.parametrize(("network", "optimizer", "loss", "schedule"), GRID)
def test_ten_updates_equal_pytorchs(
    images: tuple[np.ndarray, np.ndarray], network: str, optimizer: str, loss: str, schedule: str
) -> None:
    spec = spec_of(
        network=NETWORKS[network], **OPTIMIZERS[optimizer], loss=LOSSES[loss], schedule=SCHEDULES[schedule],
        batch_size=96, epochs=2, augmentation={"shift": 0},
    )  # fmt: skip
    _agree(spec, images)


@pytest.mark.parametrize("optimizer", ["momentum, L2", "adam, L2 on all"])
def test_a_last_batch_of_one_image_equals_pytorchs(images: tuple[np.ndarray, np.ndarray], optimizer: str) -> None:
    """Batch norm makes 0 of the one image, which PyTorch refuses; weights decay, and running statistics move on."""
    spec = spec_of(network=NETWORKS["residual of two"], **OPTIMIZERS[optimizer], batch_size=112, epochs=2)
    _agree(spec, images)


def _agree(spec: RunSpec, images: tuple[np.ndarray, np.ndarray]) -> None:
    """Ten updates over 449 images, in float64."""
    index = np.arange(600)
    ours, theirs = (
        make_trainer(each, backend.select("cpu", np.float64), *images, index[:449], index[449:])
        for each in (spec, spec.model_copy(update={"engine": "torch"}))
    )
    np.testing.assert_array_equal(ours.executor.model.state, theirs.executor.model.state)
    for trainer in (ours, theirs):
        trainer.run()
    assert ours.progress.step == theirs.progress.step == 10
    np.testing.assert_allclose(ours.executor.model.state, theirs.executor.model.state, rtol=1e-9, atol=1e-11)
    for mine, other in zip(ours.progress.history, theirs.progress.history, strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=1e-9)
        assert mine.validation_loss == pytest.approx(other.validation_loss, rel=1e-9)
        assert (mine.train_accuracy, mine.validation_accuracy) == (other.train_accuracy, other.validation_accuracy)


def test_the_twin_learns_by_itself(trainer_of: Callable[..., Trainer], images: tuple[np.ndarray, np.ndarray]) -> None:
    """The parity above is no agreement of two standstills."""
    spec = spec_of(optimizer={"name": "adam", "learning_rate": 0.02}, epochs=10, engine="torch")
    index = np.arange(600)
    twin = make_trainer(spec, backend.select("cpu"), *images, index[:400], index[400:])
    before = np.copy(twin.executor.model.state)
    assert twin.run().history[-1].validation_accuracy > 0.9
    assert np.abs(twin.executor.model.state - before).max() > 0.05
