"""The compiled kernels against the readable operations, one by one, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from mlpaper.engine.network import NAMES
from mlpaper.engine.ops import kernels, scalar
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.ops.reference import Ops

RNG = np.random.default_rng(1)
OPS = Ops()
COUNT, WIDTH, CLASSES = 37, 22, 11


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numba around a part of compiled code."""
    return numba.njit(error_model="numpy", fastmath={"contract"})(function)  # type: ignore[no-any-return]


activate = _compiled(lambda kind, x, y: kernels.activate(kind, x, y))
activate_backward = _compiled(lambda kind, kept, dy: kernels.activate_backward(kind, kept, dy))
moments = _compiled(lambda x, mean, variance: kernels.moments(x, mean, variance))
deviation = _compiled(lambda *arguments: kernels.deviation(*arguments))
normalise = _compiled(lambda *arguments: kernels.normalise(*arguments))
follow = _compiled(lambda *arguments: kernels.follow(*arguments))
sums = _compiled(lambda *arguments: kernels.add_rows_and_products(*arguments))
batch_norm_backward = _compiled(lambda *arguments: kernels.batch_norm_backward(*arguments))
dropout = _compiled(lambda *arguments: kernels.dropout(*arguments))
dropout_backward = _compiled(lambda *arguments: kernels.dropout_backward(*arguments))
log_softmax = _compiled(lambda *arguments: kernels.log_softmax(*arguments))
clip_norm = _compiled(lambda *arguments: kernels.clip_norm(*arguments))
LOSSES = {
    "cross_entropy": _compiled(lambda *arguments: kernels.cross_entropy(*arguments)),
    "weighted_cross_entropy": _compiled(lambda *arguments: kernels.weighted_cross_entropy(*arguments)),
    "squared_error": _compiled(lambda *arguments: kernels.squared_error(*arguments)),
    "absolute_error": _compiled(lambda *arguments: kernels.absolute_error(*arguments)),
}
OPTIMISERS = {
    "momentum": (_compiled(lambda *arguments: kernels.momentum(*arguments)), 3),
    "nesterov": (_compiled(lambda *arguments: kernels.nesterov(*arguments)), 3),
    "adam": (_compiled(lambda *arguments: kernels.adam(*arguments)), 4),
}


@pytest.fixture(params=[np.float32, np.float64])
def real(request: pytest.FixtureRequest) -> Any:
    """The type of the parameters."""
    return request.param


def _close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == theirs.dtype
    tight = {"rtol": 1e-5, "atol": 1e-6} if ours.dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(ours, theirs, **tight)


def _random(real: Any, *shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(real)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, real: Any) -> None:
    x, dy, y = 3 * _random(real, 999), _random(real, 999), np.empty(999, real)
    x[0], dx = np.nan, np.empty(999, real)
    OPS.activate(name, x, y)
    mine = x.copy()
    if ACTIVATIONS[name].kept == "input":
        mine = np.empty_like(x)
    activate(NAMES.index(name), x, mine)
    _close(mine, y)
    assert np.isnan(mine[0]), "a network that diverges must be seen to diverge"
    kept = y if ACTIVATIONS[name].kept == "output" else x
    OPS.activate_backward(name, kept[1:], dy[1:], dx[1:])
    activate_backward(NAMES.index(name), kept, dy)
    _close(dy[1:], dx[1:])


def test_batch_norm(real: Any) -> None:
    x, gamma, beta, dy = (_random(real, *shape) for shape in ((COUNT, WIDTH), (WIDTH,), (WIDTH,), (COUNT, WIDTH)))
    normal, y, statistics, epsilon = np.empty_like(x), np.empty_like(x), np.empty((2, WIDTH), real), real(1e-5)
    OPS.batch_norm(x, gamma, beta, 1e-5, normal, y, statistics)
    (mean, variance), shift, factor, z, s = np.empty((2, WIDTH), real), *np.empty((2, WIDTH), real), x.copy(), y * 0
    moments(x, mean, variance)
    deviation(mean, variance, epsilon, shift, factor)
    normalise(z, shift, factor, gamma, beta, s)
    for mine, other in ((mean, statistics[0]), (variance, statistics[1]), (z, normal), (s, y)):
        _close(mine, other)
    running = np.abs(_random(real, 2, WIDTH))
    theirs = running.copy()
    OPS.follow(theirs, statistics, COUNT, 0.1)
    follow(running, mean, variance, COUNT, 0.1)
    _close(running, theirs)
    dgamma, dbeta, dx, dz = np.empty_like(gamma), np.empty_like(gamma), np.empty_like(x), np.empty_like(x)
    OPS.batch_norm_backward(normal, statistics[1], gamma, 1e-5, dy, dgamma, dbeta, dx)
    products, total = np.zeros((2, WIDTH), real)
    sums(dy, z, total, products)
    batch_norm_backward(z, dy, gamma * factor, real(1) / real(COUNT), products, total, dz)
    for mine, other in ((total, dbeta), (products, dgamma), (dz, dx)):
        _close(mine, other)


def test_dropout_draws_the_words_of_the_place_in_the_batch_as_drawn(real: Any) -> None:
    x, dy, position, step = _random(real, COUNT, WIDTH), _random(real, COUNT, WIDTH), RNG.permutation(COUNT), 2**32 + 5
    mask, y = np.empty_like(x), np.empty_like(x)
    OPS.dropout(x[np.argsort(position)], 0.3, 7, 3, np.array([step], np.uint64), mask, y)
    mine, kept, words = x.copy(), np.empty((COUNT, WIDTH), np.uint8), np.empty(WIDTH + 3, np.uint32)
    dropout(mine, kept, position, words, 0.3, np.uint64(7), np.uint64(3), np.uint64(step))
    _close(mine, y[position])
    np.testing.assert_array_equal(kept, mask[position] > 0)
    expected = dy * mask[position]
    dropout_backward(dy.reshape(-1), kept.reshape(-1), 0.3)
    _close(dy, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, real: Any) -> None:
    """With a tie, and logits that overflow a naive softmax; the gradient may take the place of the logits."""
    logits, labels = 5 * _random(real, COUNT, CLASSES), RNG.integers(0, CLASSES, COUNT)
    logits[0] = 0
    if "cross_entropy" in name:
        logits[1] *= 1e4
    more = [np.abs(_random(real, CLASSES, CLASSES))] if name == "weighted_cross_entropy" else []
    theirs, (ours, totals) = np.empty_like(logits), np.ones((2, 3))
    getattr(OPS, name)(logits, labels, *more, 1 / COUNT, theirs, ours)
    gradient = logits.copy()
    LOSSES[name](logits, labels, *more, real(1 / COUNT), gradient, totals)
    _close(gradient, theirs)
    np.testing.assert_allclose(totals, ours, rtol=1e-5 if real == np.float32 else 1e-12)
    if "cross_entropy" in name:
        LOSSES[name](logits, labels, *more, real(1 / COUNT), logits, totals)
        np.testing.assert_array_equal(logits, gradient)


def test_a_loss_that_is_not_a_number_is_not_counted_as_finite() -> None:
    logits = np.zeros((2, 3), np.float32)
    logits[1, 2] = np.nan
    totals = np.zeros(3)
    LOSSES["cross_entropy"](logits, np.array([0, 1]), np.float32(1), np.zeros_like(logits), totals)
    assert np.isnan(totals[0])
    assert totals[2] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_of_equal_outputs_is_the_prediction(name: str) -> None:
    outputs, labels = np.array([[1.0, 2.0, 2.0]] * 4), np.array([0, 1, 1, 2])
    more, totals = [np.eye(3)] if name == "weighted_cross_entropy" else [], np.zeros(3)
    LOSSES[name](outputs.copy(), labels, *more, 1.0, np.zeros((4, 3)), totals)
    assert totals[1] == 2


def test_log_softmax_and_confidence(real: Any) -> None:
    logits = 5 * _random(real, COUNT, CLASSES)
    logits[1] *= 1e4
    expected, out, confidence = np.empty_like(logits), np.empty_like(logits), np.empty(COUNT, real)
    OPS.log_softmax(logits, expected)
    log_softmax(logits, out, confidence)
    _close(out, expected)
    _close(confidence, np.exp(expected.max(axis=1)))


def test_the_logarithm_is_that_of_the_c_library_to_one_unit_in_the_last_place() -> None:
    log = _compiled(lambda x: scalar.log(x))
    for x in np.concatenate([1 + np.logspace(-12, 2, 500), np.logspace(-300, 300, 500), [1.0, np.sqrt(2)]]):
        assert abs(log(x) - np.log(x)) <= np.spacing(abs(np.log(x))), x
    assert log(np.inf) == np.inf
    assert np.isnan(log(np.nan))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name: str, real: Any) -> None:
    function, vectors = OPTIMISERS[name]
    mine = [np.abs(_random(real, 99)) for _ in range(vectors)]
    theirs = [vector.copy() for vector in mine]
    if name == "adam":
        more = (1e-3, 0.9, 0.999, 1e-8, 3)
        function(*mine, *more)
    else:
        more = (0.1, 0.9)
        function(*mine, *map(real, more))
    getattr(OPS, name)(*theirs, *more)
    for ours, other in zip(mine, theirs, strict=True):
        _close(ours, other)


@pytest.mark.parametrize("largest", [0.5, 1e3])
def test_clipping(largest: float, real: Any) -> None:
    mine = _random(real, 99)
    theirs = mine.copy()
    clip_norm(mine, largest)
    OPS.clip_norm(theirs, largest)
    _close(mine, theirs)
