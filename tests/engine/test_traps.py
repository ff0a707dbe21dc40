"""Traps that training code falls into, of which no other file here speaks: precision, waiting, and being watched."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import make_trainer, spec_of

from mlpaper.engine import backend
from mlpaper.engine.model import flat_state
from mlpaper.engine.ops.reference import Ops
from mlpaper.engine.readable import ReadableExecutor
from mlpaper.engine.train import Trainer
from mlpaper.engine.train_job import train_run
from mlpaper.files import read_npz
from mlpaper.spec import PoolSpec, RunSpec

TrainerOf = Callable[..., Trainer]
Images = tuple[np.ndarray, np.ndarray]


def plain(value: object) -> object:
    return value.view(np.ndarray) if isinstance(value, Watched) else value


class Watched(np.ndarray):
    """An array that remembers which functions computed in float64 with float32 arrays."""

    widened: list[str] = []

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        inputs = tuple(plain(value) for value in inputs)
        types = [getattr(value, "dtype", type(value)) for value in inputs]
        single = any(isinstance(value, np.ndarray) and value.dtype == np.float32 for value in inputs)
        if single and method == "__call__" and np.float64 in ufunc.resolve_dtypes((*types, *[None] * ufunc.nout)):
            self.widened.append(ufunc.__name__)
        out = options.get("out")
        if out is not None:
            options["out"] = tuple(plain(value) for value in out)
        result = getattr(ufunc, method)(*inputs, **options)
        if out is not None:
            return out[0]
        return result.view(Watched) if isinstance(result, np.ndarray) else result

    def mean(self, *arguments: object, out: object = None, **options: object) -> object:
        """NumPy's own mean divides by an int64, on its way back to float32."""
        return plain(self).mean(*arguments, out=plain(out), **options)


class WatchedBackend(backend.Backend):
    """Hands out watched arrays only."""

    def empty(self, shape: tuple[int, ...], dtype: object = None) -> np.ndarray:
        return super().empty(shape, dtype).view(Watched)

    def zeros(self, shape: tuple[int, ...], dtype: object = None) -> np.ndarray:
        return super().zeros(shape, dtype).view(Watched)

    def to_device(self, array: np.ndarray) -> np.ndarray:
        return array.view(Watched)


SGD = {"name": "sgd", "learning_rate": 0.01}
WIDENING = {
    "adam, batch norm, dropout": {
        "network": {"hidden": [8, 8, 8], "batch_norm": True, "dropout": 0.2, "residual": 2},
        "optimizer": {"name": "adam"},
        "decay": {"decoupled": 0.1},
    },
    "momentum, L2, clipped": {"optimizer": SGD | {"momentum": 0.9}, "decay": {"l2": 0.1}, "clip_norm": 0.01},
    "nesterov, weighted": {
        "optimizer": SGD | {"momentum": 0.9, "nesterov": True},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1, "class_weights": "balanced"},
    },
    "squared error, cosine": {"optimizer": SGD, "loss": {"name": "squared_error"}, "schedule": {"name": "cosine"}},
    "absolute error": {"optimizer": SGD, "loss": {"name": "absolute_error"}, "input": {"mean": 0.1307, "std": 0.3081}},
    **{
        name: {"network": {"hidden": [8], "activation": name}}
        for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")
    },
}


@pytest.mark.parametrize("name", WIDENING)
def test_nothing_becomes_float64(images: Images, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`float32 * np.sqrt(...)` is float64 in NumPy 2, also where the result goes into a float32 array."""
    monkeypatch.setattr(Watched, "widened", [])
    index = np.arange(600)
    watched = WatchedBackend("reference", Ops(), np.dtype(np.float32))
    trainer = make_trainer(spec_of(**WIDENING[name]), watched, *images, index[:400], index[400:])
    trainer.epoch()
    assert Watched.widened == []
    executor = trainer.executor
    assert isinstance(executor, ReadableExecutor)
    state = [executor.model.state, executor.flat_gradient, *executor.optimizer.state.values()]
    assert {vector.dtype for vector in state} == {np.dtype(np.float32)}
    assert executor.forward(executor.inputs(index[:3])).dtype == np.float32
    trainer.executor.model.state[...] *= np.sqrt(2 / 784)
    assert Watched.widened == ["multiply"], "the trap itself must be seen"


@dataclasses.dataclass(frozen=True)
class CountingBackend(backend.Backend):
    """Counts how often the host asks for something."""

    asked: list[int] = dataclasses.field(default_factory=list)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        self.asked.append(1)
        return super().to_host(array)


def test_the_host_waits_as_often_for_many_batches_as_for_one(images: Images) -> None:
    counts, index = [], np.arange(600)
    for batch_size in ("full", 4):
        chosen = backend.select("cpu")
        counting = CountingBackend(chosen.name, chosen.ops, chosen.dtype)
        trainer = make_trainer(spec_of(batch_size=batch_size), counting, *images, index[:400], index[400:])
        trainer.epoch()
        counts.append(len(counting.asked))
    assert counts[0] == counts[1] <= 2


def test_a_run_does_not_depend_on_who_watches_it(
    digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when it stops nor what it learns: not on messages, checkpoints or records of steps."""
    spec = RunSpec(
        dataset=PoolSpec(name="digits"), batch_size=32, epochs=12, optimizer={"name": "adam", "learning_rate": 0.02},
        early_stopping={"patience": 1, "restore_best": True},
    )  # fmt: skip
    outcomes = []
    for name, level, seconds, steps in (
        ("silent", logging.CRITICAL, 1e9, False),
        ("loud", logging.DEBUG, 1e9, False),
        ("saved", logging.CRITICAL, 0, False),
        ("recorded", logging.CRITICAL, 1e9, True),
    ):
        folder = tmp_path / name
        with caplog.at_level(level):
            watched = spec.model_copy(update={"record_steps": steps})
            train_run(
                watched, digits, digits / "split.npz", folder, folder / "c.npz", "test", checkpoint_seconds=seconds
            )
        outcomes.append(flat_state(read_npz(folder / "weights.npz")))
    assert "stopped early" in caplog.text
    for state in outcomes[1:]:
        np.testing.assert_array_equal(state, outcomes[0])


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_dropout_is_for_training_only(trainer_of: TrainerOf, device: str) -> None:
    """The validation of an epoch, and any evaluation, is that of the same weights without dropout."""
    with_dropout, without = (trainer_of(device, network={"hidden": [16], "dropout": p}) for p in (0.5, 0.0))
    with_dropout.epoch()
    without.executor.model.state[...] = with_dropout.executor.model.state
    record = with_dropout.progress.history[0]
    expected = without.executor.evaluate(np.arange(400, 600))
    assert with_dropout.executor.evaluate(np.arange(400, 600)) == expected
    assert (record.validation_loss, record.validation_accuracy) == pytest.approx(expected, rel=1e-6)
    without.epoch()
    assert without.progress.history[0].train_loss < record.train_loss, "there was dropout in training"


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_deformations_are_for_training_only(images: Images, device: str) -> None:
    pixels, index, losses = np.ascontiguousarray(images[0][:, :16]), np.arange(600), []
    for augmentation in ({}, {"shift": 1, "rotation": 20}):
        spec, chosen = spec_of(augmentation=augmentation), backend.select(device)
        trainer = make_trainer(spec, chosen, pixels, images[1], index[:400], index[400:])
        losses.append(trainer.executor.evaluate(index))
        trainer.epoch()
        losses.append(trainer.progress.history[0].train_loss)
    assert losses[0] == losses[2]
    assert losses[1] != losses[3]
