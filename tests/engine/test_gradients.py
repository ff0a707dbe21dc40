"""Analytic gradients against central differences in float64, in random directions, away from kinks.

Operations one by one, then networks, then losses. What comes from above is always random: the gradient of a softmax
with ones above it is zero, whatever the code does.
"""

from collections.abc import Callable

import numpy as np
import pytest
from gradient_check import directional_error

from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.model import named_views
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.ops.reference import Ops
from mlpaper.spec import RunSpec

DEVICES = ["cpu", "reference"]
ROWS, WIDTH, OUTPUTS = 13, 6, 4
OPS = Ops()
RNG = np.random.default_rng(5)

Arrays = dict[str, np.ndarray]
Function = Callable[[Arrays], np.ndarray]
"""The output of an operation, from its inputs by name."""
Gradient = Callable[[Arrays, np.ndarray, np.ndarray], Arrays]
"""The gradients of its inputs by name, from inputs, output y and dL/dy."""


def _affine(activation: str) -> tuple[Function, Gradient]:
    def forward(at: Arrays) -> np.ndarray:
        z = np.empty((ROWS, OUTPUTS))
        y = np.empty((ROWS, OUTPUTS)) if activation else z
        OPS.affine(at["x"], at["w"], at["b"], at["skip"], activation, z, y)
        return y

    def backward(at: Arrays, y: np.ndarray, dy: np.ndarray) -> Arrays:
        dw, db, dx = (np.empty_like(at[key]) for key in ("w", "b", "x"))
        kept = y
        if activation and ACTIVATIONS[activation].kept == "input":
            kept = at["x"] @ at["w"] + at["b"] + at["skip"]
        OPS.affine_backward(at["x"], at["w"], kept, activation, dy, dw, db, dx)
        return {"w": dw, "b": db, "x": dx, "skip": dy}

    return forward, backward


def _activation(name: str) -> tuple[Function, Gradient]:
    def forward(at: Arrays) -> np.ndarray:
        y = np.empty_like(at["x"])
        OPS.activate(name, at["x"], y)
        return y

    def backward(at: Arrays, y: np.ndarray, dy: np.ndarray) -> Arrays:
        dx = np.empty_like(dy)
        OPS.activate_backward(name, y if ACTIVATIONS[name].kept == "output" else at["x"], dy, dx)
        return {"x": dx}

    return forward, backward


def _batch_norm() -> tuple[Function, Gradient]:
    kept: Arrays = {"normal": np.empty((ROWS, WIDTH)), "statistics": np.empty((2, WIDTH))}

    def forward(at: Arrays) -> np.ndarray:
        y = np.empty((ROWS, WIDTH))
        OPS.batch_norm(at["x"], at["gamma"], at["beta"], 1e-5, kept["normal"], y, kept["statistics"])
        return y

    def backward(at: Arrays, y: np.ndarray, dy: np.ndarray) -> Arrays:
        dgamma, dbeta, dx = np.empty(WIDTH), np.empty(WIDTH), np.empty((ROWS, WIDTH))
        OPS.batch_norm_backward(kept["normal"], kept["statistics"][1], at["gamma"], 1e-5, dy, dgamma, dbeta, dx)
        return {"gamma": dgamma, "beta": dbeta, "x": dx}

    return forward, backward


SHAPES = {
    "x": (ROWS, WIDTH), "w": (WIDTH, OUTPUTS), "b": (OUTPUTS,), "skip": (ROWS, OUTPUTS), "gamma": (WIDTH,),
    "beta": (WIDTH,),
}  # fmt: skip
OPERATIONS = {
    **{f"affine, {name or 'linear'}": (_affine(name), ("x", "w", "b", "skip")) for name in ("", *ACTIVATIONS)},
    **{name: (_activation(name), ("x",)) for name in ACTIVATIONS},
    "batch norm": (_batch_norm(), ("x", "gamma", "beta")),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name: str) -> None:
    (forward, backward), inputs = OPERATIONS[name]
    at = {key: RNG.normal(size=SHAPES[key]) for key in inputs}
    y = forward(at)
    dy = RNG.normal(size=y.shape)
    gradients = {key: np.copy(gradient) for key, gradient in backward(at, y, dy.copy()).items()}
    assert gradients.keys() == at.keys()
    for key, gradient in gradients.items():
        assert np.abs(gradient).max() > 0.1, f"{key}: a gradient of zero proves nothing"
        assert directional_error(lambda: float(np.sum(forward(at) * dy)), at[key], gradient, RNG) < 1e-6, key


def test_the_checker_sees_what_is_wrong() -> None:
    """A sign, a scale, or one entry of many: each is far above the tolerance of the tests in this file."""
    rng = np.random.default_rng(1)
    x, a = rng.normal(size=200), rng.normal(size=200)
    right = a * np.cos(x)

    def error(gradient: np.ndarray) -> float:
        return directional_error(lambda: float(np.sum(a * np.sin(x))), x, gradient, rng)

    one = right.copy()
    one[7] += 0.01
    assert error(right) < 1e-6
    assert min(error(-right), error(1.001 * right), error(one)) > 1e-5


NETWORKS = {
    "linear": {"hidden": []},
    "one hidden layer": {"hidden": [7]},
    "three hidden layers": {"hidden": [6, 5, 4]},
    "batch norm": {"hidden": [9, 6], "batch_norm": True},
    "dropout": {"hidden": [9, 6], "dropout": 0.3},
    "residual blocks of one layer": {"hidden": [6] * 4, "residual": 1},
    "residual blocks of two layers": {"hidden": [6] * 5, "residual": 2, "activation": "tanh"},
    "everything": {"hidden": [8] * 5, "residual": 2, "activation": "silu", "batch_norm": True, "dropout": 0.2},
    "residual blocks with dropout": {"hidden": [6] * 5, "residual": 2, "activation": "sigmoid", "dropout": 0.3},
}
NETWORKS |= {name: {"hidden": [7, 5], "activation": name} for name in ACTIVATIONS}
NETWORKS |= {f"{name}, dropout": {"hidden": [7, 5], "activation": name, "dropout": 0.3} for name in ACTIVATIONS}
NETWORKS |= {
    f"{name}, batch norm": {"hidden": [7, 5], "activation": name, "batch_norm": True, "dropout": 0.1}
    for name in ACTIVATIONS
}

CROSS_ENTROPY = {"name": "cross_entropy"}
LOSSES = {
    "mean": CROSS_ENTROPY,
    "sum": CROSS_ENTROPY | {"reduction": "sum"},
    "smoothed": CROSS_ENTROPY | {"label_smoothing": 0.2},
    "weighted": CROSS_ENTROPY | {"class_weights": [0.5, 2.0, 1.0, 0.1], "label_smoothing": 0.1},
    "squared error": {"name": "squared_error"},
    "absolute error": {"name": "absolute_error", "reduction": "sum"},
}


def objective(options, outputs: np.ndarray, labels: np.ndarray) -> float:
    """The loss that is differentiated, written out once more."""
    count, classes = outputs.shape
    onehot = np.eye(classes)[labels]
    if options.name == "cross_entropy":
        log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
        weights = np.ones(classes) if options.class_weights is None else np.asarray(options.class_weights)
        smoothed = (1 - options.label_smoothing) * onehot + options.label_smoothing / classes
        each, norm = -(smoothed * weights * log_p).sum(axis=1), weights[labels].sum()
    else:
        difference = outputs - onehot
        each = (difference**2 if options.name == "squared_error" else np.abs(difference)).mean(axis=1)
        norm = count
    return each.sum() / (norm if options.reduction == "mean" else 1)


def check(network: dict, loss: dict, device: str) -> None:
    """The gradient of a batch; the objective is computed from the outputs of the readable executor."""
    rng = np.random.default_rng(3)
    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "network": network, "loss": loss, "batch_size": 16})
    pool = Pool(np.zeros((16, 8), np.uint8), rng.integers(0, 4, 16), 4)
    run, readable = (
        executor_for(spec, backend.select(name, np.float64), pool, np.arange(16)) for name in (device, "reference")
    )
    theta = run.model.parameters
    theta += 0.3 * rng.normal(size=theta.shape)
    x = rng.normal(size=(16, 8))
    flat = np.copy(run.gradient(x, pool.labels))

    def value() -> float:
        readable.model.state[...] = run.model.state
        return objective(spec.loss, readable.forward(x, 1), pool.labels)

    assert directional_error(value, theta, flat, rng) < 1e-6
    gradients, tensors = (named_views(vector, run.network.layout) for vector in (flat, theta))
    for name, gradient in gradients.items():  # one by one: a wrong bias cannot hide behind large weights
        if name.endswith("bias") and name.replace("bias", "gamma") in gradients:
            np.testing.assert_allclose(gradient, 0, atol=1e-12)  # the batch's mean takes any shift away
            continue
        assert directional_error(value, tensors[name], gradient, rng) < 1e-6, name
        assert np.abs(gradient).max() > 1e-5, f"{name}: a gradient of zero proves nothing"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("device", DEVICES)
def test_networks(name: str, device: str) -> None:
    check(NETWORKS[name], CROSS_ENTROPY, device)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("device", DEVICES)
def test_losses(name: str, device: str) -> None:
    check({"hidden": [7], "activation": "tanh"}, LOSSES[name], device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_from_images_is_that_of_their_inputs(device: str) -> None:
    """An update without momentum moves the weights by the gradient, which products with stored images give."""
    rng = np.random.default_rng(0)
    pool = Pool(rng.integers(0, 256, (40, 12), np.uint8), rng.integers(0, 4, 40), 4)
    for pixels in ({}, {"mean": 0.3, "std": 0.5}):
        values = {"dataset": {"name": "digits"}, "network": {"hidden": [7]}, "batch_size": 40, "input": pixels}
        spec = RunSpec.model_validate(values | {"optimizer": {"name": "sgd"}})
        run = executor_for(spec, backend.select(device, np.float64), pool, np.arange(40))
        before, order = run.model.parameters.copy(), rng.permutation(40)
        gradient = np.copy(run.gradient(run.inputs(order), pool.labels[order]))
        run.train(order, np.ones(1), 0, 0)
        np.testing.assert_allclose(before - run.model.parameters, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_changes_neither_parameters_nor_the_optimiser(device: str) -> None:
    rng = np.random.default_rng(0)
    pool = Pool(rng.integers(0, 256, (16, 8), np.uint8), rng.integers(0, 4, 16), 4)
    values = {"dataset": {"name": "digits"}, "network": {"hidden": [7]}, "batch_size": 16, "decay": {"decoupled": 0.1}}
    run = executor_for(RunSpec.model_validate(values), backend.select(device), pool, np.arange(16))
    run.train(np.arange(16), np.full(1, 0.1), 0, 0)
    vectors = [run.model.parameters, *run.optimizer.state.values()]
    before = [vector.copy() for vector in vectors]
    run.gradient(run.inputs(np.arange(16)), pool.labels)
    for vector, old in zip(vectors, before, strict=True):
        np.testing.assert_array_equal(vector, old)
