"""Training: what one update does, when a run ends, and the traps that training loops fall into."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from mlpaper.engine.schedules import learning_rate
from mlpaper.engine.train import Trainer
from mlpaper.spec import ExponentialSchedule, LinearSchedule

TrainerOf = Callable[..., Trainer]


def _weights(trainer: Trainer) -> np.ndarray:
    return np.copy(trainer.network.parameters.flat)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "learning_rate": 0.1},
        {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        {"name": "adam", "learning_rate": 0.01},
    ],
)
def test_duplicating_a_batch_leaves_the_mean_gradient_unchanged(trainer_of: TrainerOf, optimizer: dict) -> None:
    """And doubles the summed one: the size of the batch enters in one place."""
    index = np.arange(32)
    results = {}
    for reduction in ("mean", "sum"):
        for copies in (1, 2):
            trainer = trainer_of(
                dtype=np.float64, optimizer=optimizer, loss={"name": "cross_entropy", "reduction": reduction}
            )
            trainer.update(np.tile(index, copies), 0.1, np.zeros(3))
            results[reduction, copies] = (np.copy(trainer.network.gradients.flat), _weights(trainer))
    for value in (0, 1):
        np.testing.assert_allclose(results["mean", 2][value], results["mean", 1][value], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(results["sum", 2][0], 2 * results["sum", 1][0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(results["sum", 1][0], 32 * results["mean", 1][0], rtol=1e-12, atol=1e-15)


def test_l2_decays_weights_and_not_biases(trainer_of: TrainerOf) -> None:
    plain, decayed = (trainer_of(dtype=np.float64, decay={"l2": l2}, optimizer={"name": "sgd"}) for l2 in (0.0, 0.5))
    for trainer in (plain, decayed):
        trainer.network.parameters.flat[...] += 1  # biases start at zero, where nothing would be seen
    before = _weights(plain)
    for trainer in (plain, decayed):
        trainer.update(np.arange(64), 0.1, np.zeros(3))
    size = plain.network.parameters.layout.weight_size
    difference = _weights(plain) - _weights(decayed)
    np.testing.assert_allclose(difference[:size], 0.1 * 0.5 * before[:size], rtol=1e-9)
    np.testing.assert_array_equal(difference[size:], 0)


def test_optimisers_by_hand(trainer_of: TrainerOf) -> None:
    """Two updates of every optimiser equal the published equations, written out once more in float64."""
    adam = {"name": "adam", "learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
    for options in (adam, {"name": "sgd", "momentum": 0.9}, {"name": "sgd"}):
        trainer = trainer_of(dtype=np.float64, optimizer=options)
        theta, m, v = _weights(trainer), 0.0, 0.0
        for t in (1, 2):
            trainer.update(np.arange(64), 0.05, np.zeros(3))
            g = np.copy(trainer.network.gradients.flat)
            if options["name"] == "adam":
                m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
                theta = theta - 0.05 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
            else:
                m = options.get("momentum", 0.0) * m + g
                theta = theta - 0.05 * m
        np.testing.assert_allclose(_weights(trainer), theta, rtol=1e-12)


def test_the_same_specification_gives_the_same_bits_and_another_seed_others(trainer_of: TrainerOf) -> None:
    adam = {"name": "adam", "learning_rate": 0.02}
    first, second, other = (trainer_of(optimizer=adam, epochs=10, seed=seed) for seed in (0, 0, 1))
    for trainer in (first, second, other):
        trainer.run()
    np.testing.assert_array_equal(_weights(first), _weights(second))
    assert np.mean(_weights(first) == _weights(other)) < 0.2  # biases may agree, weights do not
    assert first.progress.history[-1].validation_accuracy > 0.9


def test_everything_stays_float32(trainer_of: TrainerOf) -> None:
    """`float32 * np.sqrt(...)` is float64 in NumPy 2; one such product would double every buffer behind it."""
    trainer = trainer_of(optimizer={"name": "sgd", "momentum": 0.9}, decay={"l2": 0.1})
    trainer.run()
    vectors = [trainer.network.parameters.flat, trainer.network.gradients.flat, *trainer.optimizer.state.values()]
    assert {vector.dtype for vector in vectors} == {np.dtype(np.float32)}
    assert trainer.network.forward(trainer.batches.load(np.arange(3))[0]).dtype == np.float32


def test_evaluation_changes_nothing_and_ignores_the_batch_size(trainer_of: TrainerOf) -> None:
    trainer = trainer_of()
    trainer.run()
    before, state = _weights(trainer), {k: np.copy(v) for k, v in trainer.optimizer.state.items()}
    loss, accuracy = trainer.evaluate(np.arange(600))
    np.testing.assert_array_equal(_weights(trainer), before)
    for name, vector in trainer.optimizer.state.items():
        np.testing.assert_array_equal(vector, state[name])
    parts = [trainer.evaluate(part) for part in np.array_split(np.arange(600), 7)]
    sizes = [len(part) for part in np.array_split(np.arange(600), 7)]
    np.testing.assert_allclose(np.average([part[0] for part in parts], weights=sizes), loss, rtol=1e-6)
    np.testing.assert_allclose(np.average([part[1] for part in parts], weights=sizes), accuracy, rtol=1e-12)


def test_every_training_image_is_seen_once_an_epoch(trainer_of: TrainerOf) -> None:
    trainer = trainer_of(batch_size=96)  # 400 = 4 x 96 + 16: the last, smaller batch counts
    seen: list[int] = []
    update = trainer.update

    def spy(index: np.ndarray, rate: float, totals: np.ndarray) -> None:
        seen.extend(index.tolist())
        update(index, rate, totals)

    trainer.update = spy  # type: ignore[method-assign]
    trainer.epoch()
    assert sorted(seen) == list(range(400))
    assert seen != sorted(seen)
    assert trainer.progress.step == 5


def test_running_means_are_over_samples(trainer_of: TrainerOf) -> None:
    """With a learning rate of almost zero the running mean of an epoch is the loss of the initial weights."""
    trainer = trainer_of(optimizer={"name": "sgd", "learning_rate": 1e-12}, batch_size=96)
    loss, accuracy = trainer.evaluate(np.arange(400))
    trainer.epoch()
    record = trainer.progress.history[0]
    assert math.isclose(record.train_loss, loss, rel_tol=1e-5)
    assert record.train_accuracy == accuracy


def test_schedules_start_at_the_base_rate_and_end_where_they_should(trainer_of: TrainerOf) -> None:
    linear, exponential = LinearSchedule(alpha=0.3, minimum=0.05), ExponentialSchedule(gamma=0.5)
    np.testing.assert_allclose([learning_rate(linear, 1.0, e, 5) for e in range(5)], [1.0, 0.7, 0.4, 0.1, 0.05])
    np.testing.assert_allclose([learning_rate(exponential, 1.0, e, 4) for e in range(4)], [1, 0.5, 0.25, 0.125])
    trainer = trainer_of(
        optimizer={"name": "sgd", "learning_rate": 0.1}, schedule={"name": "exponential", "gamma": 0.5}
    )
    trainer.run()
    np.testing.assert_allclose([record.lr for record in trainer.progress.history], [0.1, 0.05, 0.025, 0.0125])


STOPPING = {"monitor": "validation_loss", "patience": 2, "min_delta": 0.05}


@pytest.mark.parametrize(
    ("losses", "stops_after", "best"),
    [
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], None, 7),
        ([1.0, 0.5, 0.6, 0.6, 0.1], 4, 1),
        ([1.0, 0.5, 0.47, 0.46, 0.1], 4, 1),  # improvements below min_delta do not count
        ([1.0, 1.1, 0.9, 1.0, 1.0, 0.1], 5, 2),
    ],
)
@pytest.mark.parametrize("restore", [False, True])
def test_early_stopping(
    trainer_of: TrainerOf, losses: list[float], stops_after: int | None, best: int, restore: bool
) -> None:
    trainer = trainer_of(epochs=8, early_stopping=STOPPING | {"restore_best": restore})
    remaining, weights = iter(losses), []

    def evaluate(index: np.ndarray) -> tuple[float, float]:
        weights.append(_weights(trainer))
        return next(remaining), 0.5

    trainer.evaluate = evaluate  # type: ignore[method-assign]
    progress = trainer.run()
    assert progress.outcome == ("finished" if stops_after is None else "stopped_early")
    assert len(progress.history) == (stops_after or 8)
    assert progress.best_epoch == best
    np.testing.assert_array_equal(_weights(trainer), weights[best if restore else -1])


def test_early_stopping_on_accuracy_waits_for_larger_values(trainer_of: TrainerOf) -> None:
    trainer = trainer_of(epochs=8, early_stopping={"monitor": "validation_accuracy", "patience": 1})
    accuracies = iter([0.5, 0.6, 0.6])
    trainer.evaluate = lambda index: (1.0, next(accuracies))  # type: ignore[method-assign]
    assert trainer.run().best_epoch == 1
    assert len(trainer.progress.history) == 3


def test_divergence_is_an_outcome(trainer_of: TrainerOf) -> None:
    with np.errstate(all="ignore"):
        trainer = trainer_of(optimizer={"name": "sgd", "learning_rate": 1e30}, batch_size=100)
        progress = trainer.run()
    assert progress.outcome == "diverged"
    assert progress.diverged_at_step in (2, 3)
    assert progress.history == []
