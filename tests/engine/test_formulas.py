"""The formulas that the documentation shows, read from it and compared with what the code does."""

import doctest
import re

import numpy as np
import pytest
import written_formulas
from written_formulas import assignments, evaluate

from mlpaper import spec
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.ops.reference import Ops
from mlpaper.engine.schedules import learning_rate

RNG = np.random.default_rng(4)
OPS = Ops()


def real(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def test_formulas_are_read_as_they_should_be() -> None:
    assert doctest.testmod(written_formulas) == (0, 2)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "silu"])
def test_activations(name: str) -> None:
    x, value = real(50), ACTIVATIONS[name].value
    ((target, formula),) = assignments(value.__doc__)
    assert target == "y"
    np.testing.assert_allclose(value(x), evaluate(formula, {"x": x}), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "silu"])
def test_derivatives(name: str) -> None:
    x, activation = real(50), ACTIVATIONS[name]
    y = activation.value(x)
    formulas = dict(assignments(activation.slope.__doc__))
    names = {"x": x, "y": y}
    names |= {other: evaluate(formula, names) for other, formula in formulas.items() if other != "slope"}
    slope = activation.slope(y if activation.kept == "output" else x)
    np.testing.assert_allclose(slope, evaluate(formulas["slope"], names), rtol=1e-12, atol=1e-15)


def test_leaky_relu() -> None:
    """One formula where x, or y, is positive, and another elsewhere."""
    x, activation = real(50), ACTIVATIONS["leaky_relu"]
    for function in (activation.value, activation.slope):
        formulas = re.findall(r"(?:= |else ``)([^`=]+)``", function.__doc__)
        expected = [evaluate(formula, {"x": x}) for formula in formulas]
        np.testing.assert_allclose(function(x), np.where(x > 0, *expected), rtol=1e-12)


def test_batch_norm() -> None:
    x, dy, gamma, beta = real(9, 4), real(9, 4), real(4), real(4)
    normal, y, dx, statistics, dgamma, dbeta = (np.empty(s) for s in ((9, 4), (9, 4), (9, 4), (2, 4), 4, 4))
    OPS.batch_norm(x, gamma, beta, 1e-5, normal, y, statistics)
    OPS.batch_norm_backward(normal, statistics[1], gamma, 1e-5, dy, dgamma, dbeta, dx)
    std = np.sqrt(x.var(axis=0) + 1e-5)
    names = {"x": x, "mean": x.mean(axis=0), "std": std, "gamma": gamma, "beta": beta}
    ((_, formula),) = assignments(OPS.batch_norm.__doc__)
    np.testing.assert_allclose(y, evaluate(formula, names), rtol=1e-12)
    backward = dict(assignments(OPS.batch_norm_backward.__doc__))
    names = {"dy": dy, "n": normal, "gamma": gamma, "std": std}
    for target, value in {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}.items():
        np.testing.assert_allclose(value, evaluate(backward[target], names), rtol=1e-9, atol=1e-12)
    ((_, formula),) = assignments(OPS.normalise.__doc__)
    OPS.normalise(x, gamma, beta**2, 1e-5, normal)
    names = {"x": x, "mean": gamma, "variance": beta**2, "epsilon": 1e-5}
    np.testing.assert_allclose(normal, evaluate(formula, names), rtol=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_cross_entropy", "squared_error", "absolute_error"])
def test_losses(name: str) -> None:
    """Sample by sample. What is reported of a weighted cross-entropy is the plain one's."""
    outputs, labels, targets = real(8, 5), RNG.integers(0, 5, 8), RNG.random((5, 5))
    gradient, totals = np.empty((8, 5)), np.zeros(3)
    more = [targets] if name == "weighted_cross_entropy" else []
    getattr(OPS, name)(outputs, labels, *more, 1.0, gradient, totals)
    text = " ".join(getattr(OPS, name).__doc__.split())
    (loss,) = re.findall(r"``(?:l|-log p\[label\]) = (.+?)``|objective of a sample is ``(.+?)``", text)
    (slope,) = re.findall(r"gradient(?: is)? ``(.+?)``", text)
    formula, total = max(loss), 0.0
    for n, label in enumerate(labels):
        z = outputs[n]
        names = {"z": z, "y": np.eye(5)[label], "K": 5, "label": label, "onehot": np.eye(5).__getitem__}
        names |= {"p": _softmax(z), "t": targets[label]}
        if name == "weighted_cross_entropy":  # its objective is nowhere computed: the slope of the formula
            moves = 1e-6 * np.eye(5)
            values = [[evaluate(formula, names | {"p": _softmax(z + s * move)}) for s in (1, -1)] for move in moves]
            np.testing.assert_allclose(gradient[n], np.diff(values)[:, 0] / -2e-6, rtol=1e-6, atol=1e-8)
        total += evaluate(formula, names)
        np.testing.assert_allclose(gradient[n], evaluate(slope, names), rtol=1e-12, atol=1e-15)
    if not more:
        assert totals[0] == pytest.approx(total, rel=1e-12)


def _softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam"])
def test_optimisers(name: str) -> None:
    theta, g, v, m = real(20), real(20), real(20) ** 2, real(20)
    names = {"theta": theta, "g": g, "v": v, "m": m, "learning_rate": 0.1, "mu": 0.8}
    names |= {"b1": 0.8, "b2": 0.95, "epsilon": 1e-3, "t": 4}
    states = {"sgd": [], "momentum": [v], "nesterov": [v], "adam": [m, v]}[name]
    scalars = {"sgd": [], "adam": [0.8, 0.95, 1e-3, 4]}.get(name, [0.8])
    updated, *new_states = [np.copy(a) for a in (theta, *states)]
    getattr(OPS, name)(updated, g.copy(), *new_states, 0.1, *scalars)
    for target, formula in assignments(getattr(OPS, name).__doc__):
        names = names | {target: evaluate(formula, names)}
    np.testing.assert_allclose(updated, names["theta"], rtol=1e-12)


def test_the_specification_states_the_same_update() -> None:
    theta, g, v = real(20), real(20), real(20)
    velocity, plain, nesterov = re.findall(r"(\w+) <- ([^,.]+)", spec.SGD.__doc__)
    for formulas, operation in (((velocity, plain), OPS.momentum), ((velocity, nesterov), OPS.nesterov)):
        names = {"theta": theta, "g": g, "v": v, "learning_rate": 0.1, "momentum": 0.8}
        for target, formula in formulas:
            names[target] = evaluate(formula, names)
        updated = theta.copy()
        operation(updated, g, v.copy(), 0.1, 0.8)
        np.testing.assert_allclose(updated, names["theta"], rtol=1e-12)


def test_elementwise_operations() -> None:
    x, y, theta, noise, out = real(20), real(20), real(20), real(20), np.empty(20)
    names = {"x": x, "y": y, "factor": 0.3, "sigma": 0.5, "noise": noise}
    names |= {"theta": theta, "learning_rate": 0.1, "decay": 0.2}
    expected = {
        name: evaluate(assignments(getattr(OPS, name).__doc__)[0][1], names)
        for name in ("add_scaled", "shrink", "add_noise")
    }
    OPS.add_noise(x, noise, 0.5, out)
    np.testing.assert_allclose(out, expected["add_noise"], rtol=1e-12)
    OPS.add_scaled(y, x, 0.3)
    np.testing.assert_allclose(y, expected["add_scaled"], rtol=1e-12)
    OPS.shrink(theta, 0.1, 0.2)
    np.testing.assert_allclose(theta, expected["shrink"], rtol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        spec.LinearSchedule(alpha=0.01, minimum=0.02),
        spec.StepSchedule(every=3, gamma=0.5),
        spec.ExponentialSchedule(gamma=0.9),
        spec.CosineSchedule(minimum=0.01),
    ],
    ids=lambda schedule: schedule.name,
)
def test_schedules(schedule: spec.ScheduleSpec) -> None:
    formula = re.split(r"\.$|, over", type(schedule).__doc__)[0]
    for t in range(12):
        names = schedule.model_dump() | {"learning_rate": 0.1, "t": t, "T": 12}
        assert learning_rate(schedule, 0.1, t, 12) == pytest.approx(evaluate(formula, names), rel=1e-12)
