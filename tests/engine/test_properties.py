"""What holds for any input: properties of operations, losses, schedules, randomness, parameters and whole epochs."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_runs import CLASSES, make_trainer, parameters, spec_of, update

from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for, pixel_table
from mlpaper.engine.losses import Loss
from mlpaper.engine.model import named_views
from mlpaper.engine.network import Layout
from mlpaper.engine.optim import Optimizer
from mlpaper.engine.rng import Stream, permutation
from mlpaper.engine.schedules import learning_rate
from mlpaper.engine.train import Trainer
from mlpaper.spec import (
    AbsoluteErrorSpec,
    ConstantSchedule,
    CosineSchedule,
    CrossEntropySpec,
    DecaySpec,
    ExponentialSchedule,
    InputSpec,
    LinearSchedule,
    ScheduleSpec,
    SquaredErrorSpec,
    StepSchedule,
)

TrainerOf = Callable[..., Trainer]
FLOAT64 = {device: backend.select(device, np.float64) for device in ("cpu", "reference")}
DEVICES = st.sampled_from(sorted(FLOAT64))
SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.integers(0, 2**64 - 1)

# Losses.

LOGITS = arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 6)), elements=st.floats(-30, 30))
CROSS_ENTROPIES = st.sampled_from(
    [
        CrossEntropySpec(),
        CrossEntropySpec(reduction="sum"),
        CrossEntropySpec(label_smoothing=0.3),
        CrossEntropySpec(label_smoothing=0.1, class_weights="balanced"),
    ]
)
ERRORS = st.sampled_from([SquaredErrorSpec(), AbsoluteErrorSpec()])


def loss_of(options: object, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the outputs, and totals."""
    gradient, totals = np.empty_like(logits), np.zeros(3)
    Loss(FLOAT64["cpu"], options, np.arange(1, logits.shape[1] + 1)).gradient(logits, labels, gradient, totals)
    return gradient, totals


def draw_labels(data: st.DataObject, logits: np.ndarray) -> np.ndarray:
    count, classes = logits.shape
    return np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))


@given(CROSS_ENTROPIES, LOGITS, st.floats(-1e4, 1e4), st.data())
def test_cross_entropy_ignores_shifts_and_its_gradient_has_rows_that_sum_to_zero(
    options: CrossEntropySpec, logits: np.ndarray, shift: float, data: st.DataObject
) -> None:
    labels = draw_labels(data, logits)
    gradient, totals = loss_of(options, logits, labels)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-14 * len(labels) * logits.shape[1] ** 2)
    shifted, moved = loss_of(options, logits + shift, labels)
    tolerance = 1e-10 + 1e-14 * abs(shift)  # the sum of logits and shift is rounded
    np.testing.assert_allclose(shifted, gradient, atol=10 * tolerance)
    np.testing.assert_allclose(moved[0], totals[0], rtol=tolerance, atol=10 * tolerance)
    assert 0 <= totals[1] <= len(labels)
    assert totals[2] == 1


@given(LOGITS, st.floats(-1e4, 1e4))
def test_softmax_ignores_shifts_and_gives_probabilities(logits: np.ndarray, shift: float) -> None:
    plain, shifted = np.empty_like(logits), logits + shift
    FLOAT64["cpu"].ops.log_softmax(logits, plain)
    FLOAT64["cpu"].ops.log_softmax(shifted, shifted)
    np.testing.assert_allclose(np.exp(plain).sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(shifted, plain, rtol=1e-9, atol=1e-9)


@given(st.one_of(CROSS_ENTROPIES, ERRORS), LOGITS, st.integers(2, 4), st.data())
def test_the_mean_gradient_is_that_of_the_sum_divided_once(
    options: object, logits: np.ndarray, copies: int, data: st.DataObject
) -> None:
    """Each sample's part of a mean is 1 / N of its part of the sum; with class weights, over the sum of the labels'."""
    labels = draw_labels(data, logits)
    mean, summed, repeated = (
        loss_of(options.model_copy(update={"reduction": reduction}), *batch)[0]
        for reduction, batch in (
            ("mean", (logits, labels)),
            ("sum", (logits, labels)),
            ("mean", (np.tile(logits, (copies, 1)), np.tile(labels, copies))),
        )
    )
    norm = len(labels)
    if getattr(options, "class_weights", None):
        counts = np.arange(1, logits.shape[1] + 1)
        norm = (counts.sum() / (len(counts) * counts))[labels].sum()
    np.testing.assert_allclose(summed, norm * mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(repeated, np.tile(mean / copies, (copies, 1)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "network",
    [{"hidden": []}, {"hidden": [7], "batch_norm": True}, {"hidden": [6] * 3, "residual": 2, "activation": "gelu"}],
    ids=["linear", "batch norm", "residual"],
)
@given(DEVICES, st.one_of(CROSS_ENTROPIES, ERRORS), st.integers(2, 30), st.integers(2, 5), SEEDS)
def test_duplicating_a_batch_leaves_the_mean_gradient_unchanged(
    trainer_of: TrainerOf, network: dict, device: str, options: object, count: int, copies: int, seed: int
) -> None:
    """And multiplies the summed one, so the size of a batch enters in one place. Batch norm's own means do not mind."""
    index = np.random.default_rng(seed).choice(400, count, replace=False)
    gradients = []
    for repeated in (index, np.tile(index, copies)):
        executor = trainer_of(device, np.float64, network=network, loss=options, seed=seed, batch_size=200).executor
        gradients.append(np.copy(executor.gradient(executor.inputs(repeated), executor.pool.labels[repeated])))
    factor = copies if options.reduction == "sum" else 1
    np.testing.assert_allclose(gradients[1], factor * gradients[0], rtol=1e-9, atol=1e-11)
    assert np.abs(gradients[0]).max() > 1e-4


# Schedules.

BASE = 0.1
MINIMA, GAMMAS = st.floats(0, BASE), st.floats(0.01, 1)
WARMUPS = st.integers(0, 20)
SCHEDULES = st.one_of(
    st.builds(ConstantSchedule, warmup=WARMUPS),
    st.builds(LinearSchedule, alpha=st.floats(1e-6, 1), minimum=MINIMA, warmup=WARMUPS),
    st.builds(StepSchedule, every=st.integers(1, 30), gamma=GAMMAS, warmup=WARMUPS),
    st.builds(ExponentialSchedule, gamma=GAMMAS, warmup=WARMUPS),
    st.builds(CosineSchedule, minimum=MINIMA, warmup=WARMUPS),
)


@given(SCHEDULES, st.integers(1, 200))
def test_schedules_warm_up_start_at_the_base_rate_and_never_rise_again(schedule: ScheduleSpec, length: int) -> None:
    warmup, total = schedule.warmup, schedule.warmup + length
    rates = np.array([learning_rate(schedule, BASE, t, total) for t in range(total + 1)])
    np.testing.assert_allclose(rates[: warmup + 1], BASE * np.arange(1, warmup + 2) / (warmup + 1), rtol=1e-12)
    after = rates[warmup:]
    assert (np.diff(after) <= 1e-15).all()
    assert after.min() >= getattr(schedule, "minimum", 0.0) - 1e-15
    assert after.max() <= BASE * (1 + 1e-12)


@given(SCHEDULES, st.integers(1, 200))
def test_schedules_end_where_they_should(schedule: ScheduleSpec, length: int) -> None:
    """After `length` epochs or updates behind the warm-up, and halfway."""
    total = schedule.warmup + length
    end, half = (learning_rate(schedule, BASE, schedule.warmup + t, total) for t in (length, length // 2))
    match schedule:
        case ConstantSchedule():
            expected = BASE, BASE
        case LinearSchedule(alpha=alpha, minimum=minimum):
            expected = tuple(max(minimum, BASE - alpha * t) for t in (length, length // 2))
        case StepSchedule(every=every, gamma=gamma):
            drops = np.arange(1, length + 1) % every == 0  # one where a period is over
            expected = (
                BASE * np.prod(np.where(drops, gamma, 1)),
                BASE * np.prod(np.where(drops[: length // 2], gamma, 1)),
            )
        case ExponentialSchedule(gamma=gamma):
            expected = BASE * np.prod([gamma] * length), BASE * np.prod([gamma] * (length // 2))
        case CosineSchedule(minimum=minimum):
            assume(length % 2 == 0)
            expected = minimum, (BASE + minimum) / 2
    np.testing.assert_allclose((end, half), expected, rtol=1e-9, atol=1e-15)


# Randomness.


@given(st.integers(0, 2000), SEEDS, STEPS)
def test_permutations_permute_on_every_backend_alike(count: int, seed: int, step: int) -> None:
    orders = [permutation(made, count, seed, step) for made in FLOAT64.values()]
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(count))
    np.testing.assert_array_equal(*orders)


@given(st.sampled_from(["random_words", "normal_rows"]), SEEDS, st.lists(STEPS, min_size=1, max_size=9), st.data())
def test_random_numbers_do_not_depend_on_what_is_drawn_with_them(
    name: str, seed: int, steps: list[int], data: st.DataObject
) -> None:
    """A row alone, cut short, or among others has the same numbers, and both backends draw the same."""
    width, shorter = (4 * data.draw(st.integers(1, 6)) for _ in range(2))
    row = data.draw(st.integers(0, len(steps) - 1))
    counters, drawn = np.array(steps, np.uint64), []
    for made in FLOAT64.values():
        draw, dtype = getattr(made.ops, name), np.uint32 if name == "random_words" else np.float64
        together, alone = np.empty((len(steps), width), dtype), np.empty((1, shorter), dtype)
        draw(together, seed, Stream.NOISE, counters)
        draw(alone, seed, Stream.NOISE, counters[row : row + 1])
        common = min(width, shorter)
        np.testing.assert_array_equal(together[row, :common], alone[0, :common])
        drawn.append(together)
    np.testing.assert_allclose(*drawn, rtol=0 if name == "random_words" else 1e-12)


# Data, parameters, and what happens to gradients before an optimiser's step.


@given(
    DEVICES,
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.floats(-1, 1),
    st.floats(0.1, 2),
    st.data(),
)
def test_inputs_are_the_scaled_pixels_of_the_asked_rows(
    device: str, images: np.ndarray, mean: float, std: float, data: st.DataObject
) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=12)))
    options, pool = InputSpec(mean=mean, std=std), Pool(images, np.arange(len(images)) % 3, 3)
    x = executor_for(spec_of(input=options), FLOAT64[device], pool, np.arange(len(images))).inputs(index)
    np.testing.assert_allclose(x, (images[index] / 255 - mean) / std, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(x, pixel_table(options)[images[index]])


@given(st.lists(st.integers(1, 7), min_size=2, max_size=5), st.booleans())
def test_the_flat_vector_holds_every_tensor_once_and_weights_first(widths: list[int], batch_norm: bool) -> None:
    layout = Layout.of(tuple(widths), batch_norm)
    flat, rng = np.zeros(layout.size), np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape) for name, shape in layout.shapes.items()}
    for name, view in named_views(flat, layout).items():
        view[...] = tensors[name]
    np.testing.assert_array_equal(flat, np.concatenate([tensor.ravel() for tensor in tensors.values()]))
    weights = [tensor.ravel() for name, tensor in tensors.items() if name.endswith("weight")]
    np.testing.assert_array_equal(flat[: layout.weight_size], np.concatenate(weights))
    assert [w.size for w in weights] == [first * second for first, second in itertools.pairwise(widths)]


@given(arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3)), st.floats(1e-3, 1e4))
def test_a_clipped_gradient_is_short_enough_and_points_where_it_did(gradient: np.ndarray, largest: float) -> None:
    clipped = gradient.copy()
    FLOAT64["cpu"].ops.clip_norm(clipped, largest)
    before, after = np.linalg.norm(gradient), np.linalg.norm(clipped)
    assert after <= largest
    if before + 1e-6 <= largest:
        np.testing.assert_array_equal(clipped, gradient)
    else:
        assert after == pytest.approx(min(before, largest), rel=1e-6 / before + 1e-12)
        np.testing.assert_allclose(clipped * before, gradient * after, rtol=1e-9, atol=1e-300)


FACTORS = st.floats(0, 1)
CLIPS = st.one_of(st.none(), st.floats(0.01, 20))


@given(st.sampled_from(["weights", "all"]), st.booleans(), FACTORS, FACTORS, CLIPS, st.floats(1e-3, 1))
def test_decay_works_on_what_it_says_and_nothing_else(
    parameters: str, batch_norm: bool, l2: float, decoupled: float, clip: float | None, rate: float
) -> None:
    """The gradient of the loss is clipped, over all parameters; what L2 adds to it is not."""
    layout, rng = Layout.of((5, 4, 3), batch_norm), np.random.default_rng(2)
    theta, gradient = rng.normal(size=(2, layout.size))
    decay = DecaySpec(l2=l2, decoupled=decoupled, parameters=parameters)
    spec = spec_of(optimizer={"name": "sgd"}, decay=decay, clip_norm=clip)
    updated, direction = theta.copy(), gradient.copy()
    Optimizer(FLOAT64["cpu"], spec, layout).step(updated, direction, rate, 1)
    tolerance = 1e-12
    if clip is not None:
        gradient, tolerance = gradient * min(1.0, clip / np.linalg.norm(gradient)), 1e-5
    size = layout.size if parameters == "all" else layout.weight_size
    shrunk, pulled = theta.copy(), gradient.copy()
    shrunk[:size] -= rate * decoupled * theta[:size]
    pulled[:size] += l2 * theta[:size]
    np.testing.assert_allclose(direction, pulled, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(updated, shrunk - rate * direction, rtol=1e-12, atol=1e-15)


# Whole epochs. An image of one white pixel has a row of the first weights to itself, which tells how it was used.


def telltale(device: str, train: int, **fields: object) -> tuple[Trainer, np.ndarray]:
    """A trainer of `train` such images that knows nothing yet, and their places in the pool.

    One use of an image raises the weight of its pixel and class by rate (1 - 1 / K) / N, of a batch of N, or without
    the N for a summed loss: the logits are all alike, and so small a rate leaves them so.
    """
    pool = train + 3
    labels = np.arange(pool) % CLASSES
    places = np.random.default_rng(train).permutation(pool)
    spec = spec_of(network={"hidden": [CLASSES]}, **fields)
    images = 255 * np.eye(pool, dtype=np.uint8)
    trainer = make_trainer(spec, backend.select(device), images, labels, places[:train], places[train:], CLASSES)
    parameters(trainer)["0.weight"][...] = 0.5
    parameters(trainer)["1.weight"][...] = np.eye(CLASSES)
    return trainer, places[:train]


def uses(trainer: Trainer) -> np.ndarray:
    """Sum over the uses of every image of the pool of rate (over N)."""
    weights = parameters(trainer)["0.weight"].astype(np.float64)
    own = weights[np.arange(len(weights)), np.arange(len(weights)) % CLASSES]
    return (own - 0.5) / (1 - 1 / CLASSES)


@given(DEVICES, st.integers(1, 40), st.one_of(st.integers(1, 45), st.just("full")), st.floats(0.8, 1), SEEDS)
def test_an_epoch_uses_every_training_image_once_in_batches_of_the_size_at_the_rate_of_the_step(
    device: str, count: int, batch_size: int | str, gamma: float, seed: int
) -> None:
    """Also the last, smaller batch, whose mean is over its own size. The validation images teach nothing."""
    rate = 1e-3
    trainer, places = telltale(
        device, count, batch_size=batch_size, epochs=1, seed=seed, optimizer={"name": "sgd", "learning_rate": rate},
        schedule={"name": "exponential", "gamma": gamma, "per": "step"},
    )  # fmt: skip
    trainer.run()
    size = count if batch_size == "full" else min(batch_size, count)
    sizes = [min(size, count - begin) for begin in range(0, count, size)]
    expected = [rate * gamma**t / n for t, n in enumerate(sizes) for _ in range(n)]
    np.testing.assert_allclose(np.sort(uses(trainer)[places]), np.sort(expected), rtol=0.02, atol=2e-7)
    assert trainer.progress.step == len(sizes)
    assert trainer.progress.history[0].lr == pytest.approx(expected[-1] * sizes[-1]), "the last update's"
    np.testing.assert_array_equal(np.delete(uses(trainer), places), 0)


@given(DEVICES, st.integers(1, 40), st.integers(1, 45), st.integers(1, 3), st.integers(1, 60), SEEDS)
def test_updates_or_epochs_end_a_run_and_no_image_is_ahead_by_two(
    device: str, count: int, batch_size: int, epochs: int, updates: int, seed: int
) -> None:
    rate = 1e-4
    trainer, places = telltale(
        device, count, batch_size=batch_size, epochs=epochs, updates=updates, seed=seed,
        loss={"name": "cross_entropy", "reduction": "sum"}, optimizer={"name": "sgd", "learning_rate": rate},
    )  # fmt: skip
    progress = trainer.run()
    found = uses(trainer)[places] / rate
    times = np.round(found).astype(int)
    np.testing.assert_allclose(found, times, atol=0.2)
    per_epoch = -(-count // min(batch_size, count))
    done = min(updates, epochs * per_epoch)
    whole, rest = divmod(done, per_epoch)
    assert times.sum() == whole * count + min(rest * batch_size, count)
    assert set(times) <= {whole, whole + 1}
    assert (progress.outcome, progress.step, len(progress.history)) == ("finished", done, whole + (rest > 0))


@given(DEVICES, st.integers(1, 50), SEEDS)
def test_a_full_batch_is_one_batch_of_all(device: str, excess: int, seed: int) -> None:
    states = []
    for batch_size in ("full", 30, 30 + excess):
        trainer, _ = telltale(device, 30, batch_size=batch_size, epochs=3, seed=seed)
        trainer.run()
        assert [record.step for record in trainer.progress.history] == [1, 2, 3]
        states.append(np.copy(trainer.executor.model.state))
    np.testing.assert_array_equal(states[1], states[0])
    np.testing.assert_array_equal(states[2], states[0])


OPTIMIZERS = st.sampled_from(
    [{"name": "sgd"}, {"name": "sgd", "momentum": 0.9, "nesterov": True}, {"name": "adam", "learning_rate": 0.01}]
)
WHEN = st.lists(st.sampled_from(["epoch", "update", "evaluate"]), min_size=1, max_size=5)


@given(DEVICES, OPTIMIZERS, st.booleans(), WHEN, st.integers(1, 600), SEEDS)
def test_evaluation_changes_nothing_at_any_point(
    trainer_of: TrainerOf, device: str, optimizer: dict, batch_norm: bool, when: list[str], count: int, seed: int
) -> None:
    """Between epochs or updates: not weights, statistics, state of the optimiser or progress, to the last bit."""
    network = {"hidden": [8], "batch_norm": batch_norm, "dropout": 0.2}
    evaluated, other = (trainer_of(device, network=network, optimizer=optimizer, seed=seed) for _ in range(2))
    index = np.random.default_rng(seed).choice(600, count, replace=False)

    def everything(trainer: Trainer) -> list[np.ndarray]:
        return [np.copy(trainer.executor.model.state), *map(np.copy, trainer.executor.optimizer.state.values())]

    for action in [*when, "evaluate", "update"]:
        if action == "evaluate":
            before, progress = everything(evaluated), repr(evaluated.progress)
            assert evaluated.executor.evaluate(index) == evaluated.executor.evaluate(index)
            assert repr(evaluated.progress) == progress
            for mine, theirs in zip(everything(evaluated), before, strict=True):
                np.testing.assert_array_equal(mine, theirs)
            continue
        for trainer in (evaluated, other):
            _ = trainer.epoch() if action == "epoch" else update(trainer, index[:64], 0.01)
    for mine, theirs in zip(everything(evaluated), everything(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("device", sorted(FLOAT64))
def test_every_epoch_and_seed_has_its_own_order(device: str) -> None:
    """Every update has a smaller rate than the one before, and so the images tell when they were used."""
    orders = []
    for seed in (0, 1):
        trainer, places = telltale(
            device, 40, batch_size=1, epochs=2, seed=seed, optimizer={"name": "sgd", "learning_rate": 1e-3},
            schedule={"name": "exponential", "gamma": 0.97, "per": "step"},
        )  # fmt: skip
        before = uses(trainer)
        for _ in range(2):
            trainer.epoch()
            orders.append(np.argsort(-(uses(trainer) - before)[places]))
            before = uses(trainer)
    orders.append(np.arange(40))
    for first, second in itertools.combinations(orders, 2):
        assert np.mean(first == second) < 0.2
    drawn = [permutation(trainer.executor.backend, 40, 1, epoch) for epoch in (0, 1)]
    np.testing.assert_array_equal(orders[2:4], drawn)


RUNS = st.fixed_dictionaries(
    {
        "network": st.sampled_from(
            [
                {"hidden": []},
                {"hidden": [9]},
                {"hidden": [9, 6], "activation": "tanh"},
                {"hidden": [9, 6], "batch_norm": True, "dropout": 0.2},
                {"hidden": [7] * 3, "residual": 2, "activation": "gelu"},
            ]
        ),
        "loss": st.one_of(CROSS_ENTROPIES, ERRORS),
        "optimizer": st.sampled_from(
            [
                {"name": "sgd", "learning_rate": 0.01},
                {"name": "sgd", "learning_rate": 0.005, "momentum": 0.9},
                {"name": "sgd", "learning_rate": 0.005, "momentum": 0.9, "nesterov": True},
                {"name": "adam", "learning_rate": 0.005, "epsilon": 1e-4},
            ]
        ),
        "decay": st.sampled_from([{}, {"l2": 0.1}, {"decoupled": 0.1, "parameters": "all"}]),
        "clip_norm": st.sampled_from([None, 0.5]),
        "schedule": st.sampled_from([{"name": "constant"}, {"name": "cosine", "per": "step", "warmup": 2}]),
        "augmentation": st.sampled_from([{}, {"shift": 1, "rotation": 10}]),
        "batch_size": st.sampled_from([1, 7, 32, 64, "full"]),
        "updates": st.sampled_from([None, 5]),
        "record_steps": st.booleans(),
        "seed": SEEDS,
    }
).filter(lambda fields: not ("batch_norm" in fields["network"] and fields["batch_size"] == 1))
"""Any run but batch norm with one image at a time, which a specification refuses."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
@given(fields=RUNS)
def test_any_run_is_the_same_on_every_backend(
    images: tuple[np.ndarray, np.ndarray], dtype: type, tolerance: float, fields: dict
) -> None:
    """All that kernels do, alone or many at a time, is what the equations say, over two epochs."""
    pixels, labels = images
    index, runs = np.arange(120), []
    for device in sorted(FLOAT64):
        spec = spec_of(**fields | {"epochs": 2})
        made = backend.select(device, dtype)
        trainer = make_trainer(
            spec, made, np.ascontiguousarray(pixels[:, :16]), labels, index[:80], index[80:], CLASSES
        )
        trainer.run()
        assert trainer.progress.outcome == "finished"
        runs.append(trainer)
    ours, theirs = runs
    np.testing.assert_allclose(ours.executor.model.state, theirs.executor.model.state, rtol=tolerance, atol=tolerance)
    assert ours.progress.step == theirs.progress.step
    for mine, other in zip(ours.progress.history, theirs.progress.history, strict=True):
        assert (mine.epoch, mine.step) == (other.epoch, other.step)
        assert mine.lr == pytest.approx(other.lr)
        assert mine.train_loss == pytest.approx(other.train_loss, rel=tolerance)
        assert mine.validation_loss == pytest.approx(other.validation_loss, rel=tolerance)
        if dtype == np.float64:
            assert (mine.train_accuracy, mine.validation_accuracy) == (other.train_accuracy, other.validation_accuracy)
    np.testing.assert_allclose(ours.progress.steps, theirs.progress.steps, rtol=tolerance)
