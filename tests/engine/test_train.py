"""Training: what one update does, when a run ends, and the traps that training loops fall into."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from small_runs import update

from mlpaper.engine.schedules import learning_rate
from mlpaper.engine.train import Trainer
from mlpaper.spec import ExponentialSchedule, LinearSchedule

TrainerOf = Callable[..., Trainer]


def _weights(trainer: Trainer) -> np.ndarray:
    return np.copy(trainer.executor.model.parameters)


def test_optimisers_by_hand(trainer_of: TrainerOf) -> None:
    """Four updates of every optimiser equal the published equations, written out once more in float64."""
    adam = {"name": "adam", "learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
    for options in (adam, {"name": "sgd", "momentum": 0.9}, {"name": "sgd"}):
        trainer = trainer_of(dtype=np.float64, optimizer=options)
        theta, m, v = _weights(trainer), 0.0, 0.0
        for t in (1, 2, 3, 4):
            executor = trainer.executor
            g = np.copy(executor.gradient(executor.inputs(np.arange(64)), executor.pool.labels[:64]))
            update(trainer, np.arange(64), 0.05)
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
    executor = trainer.executor
    vectors = [executor.model.state, *executor.optimizer.state.values(), executor.inputs(np.arange(3))]
    assert {vector.dtype for vector in vectors} == {np.dtype(np.float32)}
    assert executor.predict(vectors[-1]).log_probabilities.dtype == np.float32


def test_running_means_are_over_samples(trainer_of: TrainerOf) -> None:
    """With a learning rate of almost zero the running mean of an epoch is the loss of the initial weights."""
    trainer = trainer_of(optimizer={"name": "sgd", "learning_rate": 1e-12}, batch_size=96)
    loss, accuracy = trainer.executor.evaluate(np.arange(400))
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

    trainer.executor.evaluate = evaluate  # type: ignore[method-assign]
    progress = trainer.run()
    assert progress.outcome == ("finished" if stops_after is None else "stopped_early")
    assert len(progress.history) == (stops_after or 8)
    assert progress.best_epoch == best
    np.testing.assert_array_equal(_weights(trainer), weights[best if restore else -1])


def test_early_stopping_on_accuracy_waits_for_larger_values(trainer_of: TrainerOf) -> None:
    trainer = trainer_of(epochs=8, early_stopping={"monitor": "validation_accuracy", "patience": 1})
    accuracies = iter([0.5, 0.6, 0.6])
    trainer.executor.evaluate = lambda index: (1.0, next(accuracies))  # type: ignore[method-assign]
    assert trainer.run().best_epoch == 1
    assert len(trainer.progress.history) == 3


def test_schedules_run_on_for_the_whole_training(trainer_of: TrainerOf) -> None:
    schedule = {"name": "linear", "alpha": 0.01, "minimum": 0.0}
    trainer = trainer_of(optimizer={"name": "sgd", "learning_rate": 0.1}, schedule=schedule, epochs=6)
    trainer.run()
    rates = [record.lr for record in trainer.progress.history]
    np.testing.assert_allclose(rates, [0.1, 0.09, 0.08, 0.07, 0.06, 0.05])


def test_evaluation_sees_every_image_of_many_batches(trainer_of: TrainerOf, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of()
    whole = trainer.executor.evaluate(np.arange(600))
    monkeypatch.setattr("mlpaper.engine.readable.EVALUATION_ROWS", 97)
    assert trainer.executor.evaluate(np.arange(600)) == pytest.approx(whole, rel=1e-6)


def test_every_step_is_recorded_where_asked(trainer_of: TrainerOf) -> None:
    trainer = trainer_of(record_steps=True, epochs=2, batch_size=96)
    progress = trainer.run()
    assert [step for step, _, _ in progress.steps] == list(range(1, 11))
    sizes = np.array([96, 96, 96, 96, 16])
    means = [np.average([loss for _, loss, _ in progress.steps[k : k + 5]], weights=sizes) for k in (0, 5)]
    np.testing.assert_allclose(means, [record.train_loss for record in progress.history], rtol=1e-9)


def test_a_restored_run_keeps_the_epoch_that_it_says(trainer_of: TrainerOf) -> None:
    """Also with batch norm, whose running statistics belong to the weights."""
    fields = {"network": {"hidden": [16], "batch_norm": True}, "epochs": 30}
    adam = {"name": "adam", "learning_rate": 0.1}
    trainer = trainer_of(optimizer=adam, early_stopping={"patience": 2, "restore_best": True}, **fields)
    progress = trainer.run()
    best = progress.history[progress.best_epoch]
    assert progress.best_epoch < len(progress.history) - 1, "the best epoch must not be the last for this to prove much"
    assert trainer.executor.evaluate(np.arange(400, 600)) == (best.validation_loss, best.validation_accuracy)


def test_a_validation_loss_that_is_not_a_number_is_a_divergence(trainer_of: TrainerOf) -> None:
    trainer = trainer_of()
    trainer.executor.evaluate = lambda index: (math.nan, 0.0)  # type: ignore[method-assign]
    assert trainer.run().outcome == "diverged"


def test_divergence_is_an_outcome(trainer_of: TrainerOf) -> None:
    with np.errstate(all="ignore"):
        trainer = trainer_of(optimizer={"name": "sgd", "learning_rate": 1e30}, batch_size=100)
        progress = trainer.run()
    assert progress.outcome == "diverged"
    assert progress.diverged_at_step in (2, 3)
    assert progress.history == []
