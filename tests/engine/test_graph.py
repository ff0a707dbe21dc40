"""Training on a GPU: replayed updates against the readable layers, and images that are brought while it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda
from small_runs import CLASSES, make_trainer, spec_of
from test_program import ADAM, CASES, IMAGES, LABELS, SGD, trainer_on

from mlpaper.engine import backend, checkpoint, placement
from mlpaper.engine.cuda import Cuda, DeviceMemory
from mlpaper.engine.placement import Streamed, choose
from mlpaper.engine.train import Trainer
from mlpaper.engine.train_job import train_run
from mlpaper.errors import ConfigurationError
from mlpaper.evaluate.measure import robustness_of_run
from mlpaper.evaluate.placements import COLUMNS, placements_of_run
from mlpaper.files import read_json, read_parquet

MASK = {"network": {"hidden": [20, 13], "dropout": 0.3, "batch_norm": True}, "optimizer": SGD}


def _assert_same_run(trainer: Trainer, readable: Trainer, tolerance: float) -> None:
    host = trainer.executor.backend.to_host
    pairs = [(host(trainer.executor.model.state), readable.executor.model.state)]
    pairs += [
        (host(vector), readable.executor.optimizer.state[name])
        for name, vector in trainer.executor.optimizer.state.items()
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    np.testing.assert_allclose(trainer.progress.steps, readable.progress.steps, rtol=tolerance, atol=tolerance)
    for mine, other in zip(trainer.progress.history, readable.progress.history, strict=True):
        assert (mine.epoch, mine.step, mine.lr) == (other.epoch, other.step, other.lr)
        assert mine.validation_loss == pytest.approx(other.validation_loss, rel=tolerance)
        assert mine.train_accuracy == pytest.approx(other.train_accuracy, abs=2e-3 if tolerance > 1e-6 else 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_replayed_updates_do_what_the_layers_do(case: str, cuda: Cuda) -> None:
    """Weights, statistics, optimiser state, history and losses of the steps, in float64."""
    values = CASES[case] | ({"updates": 90} if CASES[case].get("batch_size") == 1 else {})
    if 1100 in values.get("network", {}).get("hidden", []):
        values |= {"updates": 4}  # whose width matters to the compiled loop
    trainer, readable = (
        trainer_on(made, values) for made in (backend.on(cuda, np.float64), backend.select("reference", np.float64))
    )
    trainer.run()
    readable.run()
    _assert_same_run(trainer, readable, 1e-9)


@pytest.mark.parametrize("values", [{}, MASK, {"augmentation": {"shift": 1, "rotation": 10}}])
def test_a_run_in_single_precision_agrees_with_the_cpu(values: dict, cuda: Cuda) -> None:
    trainer, readable = (trainer_on(made, values) for made in (backend.on(cuda), backend.select("cpu")))
    trainer.run()
    readable.run()
    _assert_same_run(trainer, readable, 2e-4)


@pytest.mark.parametrize("copies_first", [False, True])
@pytest.mark.parametrize("augmentation", [{}, {"shift": 1, "rotation": 10}])
@pytest.mark.parametrize("batch_size", [16, 37, 300])
def test_streamed_images_are_those_of_the_order(
    copies_first: bool, batch_size: int, augmentation: dict, monkeypatch: pytest.MonkeyPatch, emulated: EmulatedCuda
) -> None:
    """Several parts an epoch, whether copies run ahead as far as they may or as late as they can."""
    monkeypatch.setattr(placement, "PART", 80)
    assert isinstance(emulated, EmulatedCuda)
    runs, values = [], {"batch_size": batch_size, "epochs": 3, "augmentation": augmentation}
    for place in ("streamed", "resident"):
        cuda = EmulatedCuda(copies_first=copies_first)
        trainer = trainer_on(backend.on(cuda), values, place)
        trainer.run()
        assert trainer.executor.placement == place
        runs.append(
            (
                cuda.to_host(trainer.executor.model.state).tobytes(),
                [r.validation_loss for r in trainer.progress.history],
            )
        )
    assert runs[0] == runs[1]


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["streamed", "resident"])
def test_placements_agree_on_a_device(place: str, cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "PART", 80)
    trainer, readable = trainer_on(backend.on(cuda), {}, place), trainer_on(backend.select("cpu"), {})
    trainer.run()
    readable.run()
    _assert_same_run(trainer, readable, 2e-4)


def test_a_stream_that_forgets_to_wait_is_found_out(emulated: EmulatedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulation is strict enough: without its waits, streaming trains on other images."""
    monkeypatch.setattr(placement, "PART", 80)
    expected = trainer_on(backend.on(EmulatedCuda()), {}, "streamed")
    expected.run()
    wanted = expected.executor.backend.to_host(expected.executor.model.state)
    monkeypatch.setattr(EmulatedCuda, "wait", lambda self, stream, event: None)
    for copies_first in (False, True):
        careless = trainer_on(backend.on(EmulatedCuda(copies_first=copies_first)), {}, "streamed")
        careless.run()
        assert not np.array_equal(careless.executor.backend.to_host(careless.executor.model.state), wanted)
    assert emulated.waits == 0


def test_an_epoch_is_one_graph_and_the_host_waits_once_for_it(emulated: EmulatedCuda) -> None:
    """As often for many batches as for few; every whole batch but the first is a replay."""
    waits = []
    for batch_size in (50, 10):
        cuda = EmulatedCuda()
        trainer = trainer_on(backend.on(cuda), {"batch_size": batch_size, "record_steps": False})
        trainer.epoch()
        before = cuda.waits
        trainer.epoch()
        waits.append(cuda.waits - before)
        assert (cuda.graphs, cuda.replays) == (1, 2 * 650 // batch_size - 1)
    assert waits[0] == waits[1] == 2  # the totals of the updates, and those of the validation
    assert emulated.waits == 0


def test_a_gpu_run_that_was_saved_continues_with_the_same_bits(emulated: EmulatedCuda, tmp_path: Path) -> None:
    made, path = backend.on(emulated), tmp_path / "checkpoint.npz"
    whole, first, second = (trainer_on(made, MASK | {"epochs": 4}) for _ in range(3))
    whole.run()
    first.epoch()
    first.epoch()
    checkpoint.save(path, first, "test")
    checkpoint.load(path, second, "test")
    second.run()
    assert (
        emulated.to_host(second.executor.model.state).tobytes()
        == emulated.to_host(whole.executor.model.state).tobytes()
    )
    assert [r.train_loss for r in second.progress.history] == [r.train_loss for r in whole.progress.history]


def test_a_gpu_run_that_diverges_says_at_which_update(emulated: EmulatedCuda) -> None:
    steps = []
    for made in (backend.on(emulated), backend.select("cpu")):
        spec = spec_of(optimizer={"name": "sgd", "learning_rate": 1e30}, epochs=2)
        index = np.arange(600)
        trainer = make_trainer(spec, made, IMAGES[:600], LABELS[:600] % CLASSES, index[:400], index[400:], CLASSES)
        assert trainer.run().outcome == "diverged"
        steps.append(trainer.progress.diverged_at_step)
    assert steps[0] == steps[1]


def test_early_stopping_brings_back_the_best_weights_of_a_gpu_run(emulated: EmulatedCuda) -> None:
    values = {
        "epochs": 12,
        "early_stopping": {"patience": 1, "restore_best": True},
        "optimizer": ADAM | {"learning_rate": 0.05},
    }
    runs = [trainer_on(made, values) for made in (backend.on(emulated, np.float64), backend.select("cpu", np.float64))]
    for trainer in runs:
        trainer.run()
    ours, theirs = runs
    assert len(ours.progress.history) == len(theirs.progress.history) < 12
    np.testing.assert_allclose(
        emulated.to_host(ours.executor.model.state), theirs.executor.model.state, rtol=1e-6, atol=1e-9
    )


def test_a_device_too_small_for_the_images_gets_them_in_parts_or_says_so() -> None:
    small, large = DeviceMemory(64 << 20, 1 << 30), DeviceMemory(8 << 30, 8 << 30)
    assert choose("auto", 600 << 20, 12 << 20, large) == "resident"
    with pytest.raises(ConfigurationError, match=r"placement: streamed: 12 MiB of images do not fit into the 64 MiB"):
        choose("auto", 600 << 20, 12 << 20, small)
    with pytest.raises(ConfigurationError, match="placement: streamed needs less"):
        choose("resident", 600 << 20, 12 << 20, small)
    with pytest.raises(ConfigurationError, match="`residnet` is unknown; allowed are auto, resident, streamed"):
        choose("residnet", 1, 1, large)


def test_auto_streams_what_does_not_fit(emulated: EmulatedCuda) -> None:
    emulated.free = (1 << 30) // 10 + IMAGES.nbytes - 1
    with pytest.raises(ConfigurationError, match="do not fit"):
        trainer_on(backend.on(emulated), {}, "resident")
    emulated.free += 1
    assert trainer_on(backend.on(emulated), {}, "auto").executor.placement == "resident"
    big = np.zeros((30_000, 49), np.uint8)
    emulated.free = (1 << 30) // 10 + big.nbytes - 1
    assert isinstance(placement.place(emulated, big, 100, 20_000), Streamed)


def test_placements_are_measured_on_a_gpu_and_nowhere_else(
    emulated: EmulatedCuda, digits: Path, tmp_path: Path
) -> None:
    spec, file = spec_of(network={"hidden": [8]}), tmp_path / "placements.parquet"
    measure = (spec, digits, digits / "split.npz", file)
    placements_of_run(*measure, backend.select("cpu"), batch_sizes=(512,))
    assert read_parquet(file).to_pydict() == {name: [] for name in COLUMNS}
    placements_of_run(*measure, backend.on(emulated), batch_sizes=(512, 1024))
    rows = read_parquet(file).to_pydict()
    assert rows["placement"] == ["resident", "resident", "streamed", "streamed"]
    assert rows["batch_size"] == [512, 1024, 512, 1024]
    assert min(rows["seconds_per_epoch"]) > 0
    assert min(rows["device_memory"]) > 0


def test_noise_scores_are_the_same_on_a_gpu(cuda: Cuda, digits: Path, tmp_path: Path) -> None:
    spec = spec_of(network={"hidden": [8]}, input={"mean": 0.1, "std": 0.3})
    train_run(spec, digits, digits / "split.npz", tmp_path, tmp_path / "c.npz", "test")
    scores = []
    for made in (None, backend.on(cuda)):
        robustness_of_run(tmp_path, digits, digits / "split.npz", [0.0, 0.5], 2, made)
        scores.append(read_parquet(tmp_path / "robustness.parquet").to_pydict())
    assert scores[0]["sigma"] == scores[1]["sigma"]
    np.testing.assert_allclose(scores[0]["cross_entropy"], scores[1]["cross_entropy"], rtol=1e-5)
    np.testing.assert_allclose(scores[0]["accuracy"], scores[1]["accuracy"], atol=0.01)


def test_a_gpu_run_records_where_it_was_made(emulated: EmulatedCuda, digits: Path, tmp_path: Path) -> None:
    spec = spec_of(network={"hidden": [8]}, epochs=2)
    train_run(spec, digits, digits / "split.npz", tmp_path, tmp_path / "c.npz", "test", backend.on(emulated))
    outcome = read_json(tmp_path / "run.json")
    assert (outcome["device"], outcome["placement"], outcome["machine"]["gpu"]) == ("gpu", "resident", "emulated")
    assert outcome["device_memory_bytes"] > 0
    train_run(spec, digits, digits / "split.npz", tmp_path, tmp_path / "c.npz", "test")
    outcome = read_json(tmp_path / "run.json")
    assert (outcome["device"], outcome["placement"], outcome["device_memory_bytes"]) == ("cpu", None, None)
