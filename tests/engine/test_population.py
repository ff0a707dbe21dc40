"""Seeds trained side by side, against each of them trained alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda
from small_runs import spec_of
from test_program import ADAM, CASES, trainer_on

from mlpaper.engine import backend, checkpoint, placement
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.graph import GraphedUpdates
from mlpaper.engine.population import why_alone
from mlpaper.engine.train import Trainer
from mlpaper.engine.train_job import train_population, train_run
from mlpaper.errors import ConfigurationError
from mlpaper.files import read_json, read_npz, read_parquet

SEEDS = (3, 0, 11)
READABLE = backend.select("reference", np.float64)
TOGETHER = {
    name: {key: value for key, value in values.items() if key != "clip_norm"}
    for name, values in CASES.items()
    if 1024 not in values.get("network", {}).get("hidden", [])
} | {
    "deformed": {"augmentation": {"shift": 1, "rotation": 10}},
    "until an update": {"updates": 25},
}
STOPPING = {"epochs": 9, "optimizer": ADAM | {"learning_rate": 0.03}}


def _alone(values: dict, seed: int, made: backend.Backend = READABLE) -> Trainer:
    trainer = trainer_on(made, values | {"seed": seed})
    trainer.run()
    return trainer


def _assert_same(population: Trainer, i: int, alone: Trainer, tolerance: float) -> None:
    """The state that a member leaves behind, its history and the losses of its steps."""
    member, theirs = population.members[i], alone.backend.to_host(alone.network.state)
    ours = population.backend.to_host(member.kept)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    progress = alone.progress
    assert (member.progress.outcome, member.progress.step) == (progress.outcome, progress.step)
    np.testing.assert_allclose(member.progress.steps, progress.steps, rtol=tolerance, atol=tolerance)
    for mine, other in zip(member.progress.history, progress.history, strict=True):
        assert (mine.epoch, mine.step, mine.lr) == (other.epoch, other.step, other.lr)
        assert mine.train_loss == pytest.approx(other.train_loss, rel=tolerance)
        assert mine.train_accuracy == pytest.approx(other.train_accuracy, abs=1e-12)
        assert mine.validation_loss == pytest.approx(other.validation_loss, rel=tolerance)
        assert mine.validation_accuracy == pytest.approx(other.validation_accuracy, abs=1e-12)


@pytest.mark.parametrize("case", TOGETHER)
def test_seeds_together_end_as_each_does_alone(case: str, cuda: Cuda) -> None:
    """By the readable operations and on a device, in float64, for every kind of layer, loss and optimiser."""
    values = TOGETHER[case] | ({"updates": 60} if TOGETHER[case].get("batch_size") == 1 else {})
    alone = [_alone(values, seed) for seed in SEEDS]
    for made, tolerance in ((READABLE, 1e-11), (backend.on(cuda, np.float64), 1e-9)):
        population = trainer_on(made, values, seeds=SEEDS)
        population.run()
        for i, trainer in enumerate(alone):
            _assert_same(population, i, trainer, tolerance)


@pytest.mark.parametrize("restore", [True, False])
def test_each_stops_in_its_own_time(restore: bool, cuda: Cuda) -> None:
    """Those that stop early leave what they had then, though the others go on."""
    values = STOPPING | {"early_stopping": {"patience": 1, "restore_best": restore}}
    alone = [_alone(values, seed) for seed in SEEDS]
    assert len({len(trainer.progress.history) for trainer in alone}) > 1, "all stop at once: this shows nothing"
    population = trainer_on(backend.on(cuda, np.float64), values, seeds=SEEDS)
    population.run()
    for i, trainer in enumerate(alone):
        _assert_same(population, i, trainer, 1e-6)
        assert population.members[i].progress.best_epoch == trainer.progress.best_epoch


def test_one_that_diverges_leaves_the_others_alone(cuda: Cuda, tmp_path: Path) -> None:
    """From the second epoch on, with its best weights kept; also where it is saved and goes on after that."""
    values = {"epochs": 4, "early_stopping": {"patience": 9, "restore_best": True}}
    path, made = tmp_path / "checkpoint.npz", backend.on(cuda, np.float64)
    population, second = (trainer_on(made, values, seeds=SEEDS) for _ in range(2))
    population.epoch()
    best = made.to_host(population.members[1].kept)
    population.network.parameters["0.weight"][1] = np.inf
    population.epoch()
    checkpoint.save(path, population, "test")
    checkpoint.load(path, second, "test")
    for trainer in (population, second):
        trainer.run()
        assert [member.progress.outcome for member in trainer.members] == ["finished", "diverged", "finished"]
        lost = trainer.members[1]
        assert (lost.progress.diverged_at_step, len(lost.progress.history)) == (trainer.steps_per_epoch + 1, 1)
        np.testing.assert_array_equal(made.to_host(lost.kept), best)
        for i in (0, 2):
            _assert_same(trainer, i, _alone(values, SEEDS[i]), 1e-6)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("batch_size", [16, 37, 300])
def test_streamed_images_are_those_of_every_order(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "PART", 80)
    states = []
    for place in ("streamed", "resident"):
        trainer = trainer_on(backend.on(EmulatedCuda()), {"batch_size": batch_size}, place, SEEDS)
        trainer.run()
        assert trainer.placement == place
        states.append([trainer.backend.to_host(member.kept).tobytes() for member in trainer.members])
    assert states[0] == states[1]
    assert len(set(states[0])) == len(SEEDS)


@pytest.mark.usefixtures("emulated")
def test_an_update_of_all_is_as_many_kernels_as_of_one() -> None:
    """What makes it worth while: as many kernels and products, and no more waiting."""
    counts = []
    for seeds in ((), SEEDS):
        cuda = EmulatedCuda()
        trainer = trainer_on(backend.on(cuda), {"record_steps": False}, seeds=seeds)
        trainer.run()
        updates = trainer.program
        assert isinstance(updates, GraphedUpdates)
        index = trainer.order()[..., : trainer.batch_size]
        x, labels = trainer.batches.inputs(updates.images.images, index), trainer.batches.labels[index]
        launches, products, waits = cuda.launches, cuda.products, cuda.waits
        trainer.learn(x, labels, updates.step, updates.rate, updates.totals)
        counts.append((cuda.launches - launches, cuda.products - products, cuda.graphs, cuda.replays, waits))
    assert counts[0] == counts[1]
    assert counts[0][1] == 3 + 5, "of three layers, forwards and back"


def test_a_population_that_was_saved_continues_with_the_same_bits(emulated: EmulatedCuda, tmp_path: Path) -> None:
    """Also where one of them has stopped by then."""
    values, path = STOPPING | {"early_stopping": {"patience": 1}}, tmp_path / "checkpoint.npz"
    whole, first, second = (trainer_on(backend.on(emulated), values, seeds=SEEDS) for _ in range(3))
    whole.run()
    while len(first.running) == len(SEEDS):
        first.epoch()
    assert first.running, "all stop at once: this shows nothing"
    checkpoint.save(path, first, "test")
    checkpoint.load(path, second, "test")
    second.run()
    for mine, theirs in zip(second.members, whole.members, strict=True):
        assert emulated.to_host(mine.kept).tobytes() == emulated.to_host(theirs.kept).tobytes()
        losses = [[record.validation_loss for record in member.progress.history] for member in (mine, theirs)]
        assert losses[0] == losses[1]


def test_a_population_is_written_as_its_runs(emulated: EmulatedCuda, digits: Path, tmp_path: Path) -> None:
    """On a device close to what each is alone; on the CPU, where they train in turn, bit for bit."""
    specs = [spec_of(network={"hidden": [8]}, record_steps=True, seed=seed) for seed in SEEDS]
    names = ("together", "alone", "in turn")
    folders = {name: [tmp_path / name / spec.id for spec in specs] for name in names}
    common = digits, digits / "split.npz"
    made, saved = backend.on(emulated), tmp_path / "checkpoint.npz"
    train_population(specs, *common, folders["together"], saved, "test", made)
    train_population(specs, *common, folders["in turn"], saved, "test", backend.select("cpu"))
    for spec, folder in zip(specs, folders["alone"], strict=True):
        train_run(spec, *common, folder, saved, "test")
    assert not list(tmp_path.glob("*.npz"))
    for together, alone, in_turn in zip(*(folders[name] for name in names), strict=True):
        states = [read_npz(folder / "weights.npz")["state"] for folder in (together, alone, in_turn)]
        np.testing.assert_allclose(states[0], states[1], rtol=0, atol=2e-4 * np.abs(states[1]).max())
        assert states[1].tobytes() == states[2].tobytes()
        outcome, other = read_json(together / "run.json"), read_json(alone / "run.json")
        same = ("id", "outcome", "epochs", "kept_epoch", "steps", "parameters", "layout")
        assert {name: outcome[name] for name in same} == {name: other[name] for name in same}
        assert (outcome["device"], outcome["population"]) == ("gpu", 3)
        assert (other["device"], other["population"]) == ("cpu", 1)
        assert read_json(together / "spec.json") == read_json(alone / "spec.json")
        for file in ("history.parquet", "steps.parquet"):
            ours, theirs = (read_parquet(folder / file).to_pandas() for folder in (together, alone))
            assert list(ours.columns) == list(theirs.columns)
            losses = [name for name in ours.columns if "loss" in name]
            np.testing.assert_allclose(ours[losses], theirs[losses], rtol=1e-3)


def test_a_job_of_several_seeds_that_breaks_off_goes_on_where_it_was(
    emulated: EmulatedCuda, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same bits; a checkpoint of other seeds is set aside."""
    specs = [spec_of(network={"hidden": [8]}, epochs=3, seed=seed) for seed in SEEDS]
    data, saved, made = (digits, digits / "split.npz"), tmp_path / "checkpoint.npz", backend.on(emulated)
    whole, resumed = ([tmp_path / name / spec.id for spec in specs] for name in ("whole", "resumed"))
    train_population(specs, *data, whole, saved, "test", made)

    class BrokenOff(Exception):
        pass

    def save(path: Path, trainer: Trainer, identity: str) -> None:
        checkpoint_save(path, trainer, identity)
        if trainer.epochs == 2:
            raise BrokenOff

    checkpoint_save = checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(BrokenOff):
            train_population(specs, *data, resumed, saved, "test", made, checkpoint_seconds=0)
    epochs: list[int] = []
    epoch = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda trainer: (epochs.append(trainer.epochs), epoch(trainer)))
    train_population(specs[:2], *data, [tmp_path / "two" / spec.id for spec in specs[:2]], saved, "test", made)
    assert epochs == [0, 1, 2], "it began again"
    saved.with_suffix(".refused").replace(saved)
    train_population(specs, *data, resumed, saved, "test", made)
    assert epochs == [0, 1, 2, 2]
    for mine, theirs in zip(resumed, whole, strict=True):
        assert (mine / "weights.npz").read_bytes() == (theirs / "weights.npz").read_bytes()


def test_what_cannot_be_a_population_says_why(tmp_path: Path) -> None:
    first, second = (spec_of(seed=seed) for seed in (0, 1))
    assert why_alone([first, second]) is None
    assert why_alone([first, spec_of(seed=1, epochs=9)]) == "they differ by more than their seed"
    assert why_alone([first, first]) == "their seeds are not distinct"
    assert "clip" in str(why_alone([spec_of(seed=seed, clip_norm=1.0) for seed in (0, 1)]))
    assert "torch" in str(why_alone([spec_of(seed=seed, engine="torch") for seed in (0, 1)]))
    with pytest.raises(ConfigurationError, match="cannot be trained together: their seeds are not distinct"):
        train_population([first, first], tmp_path, tmp_path, [tmp_path] * 2, tmp_path, "test", READABLE)
