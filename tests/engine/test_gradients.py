"""Analytic gradients against central differences in float64, in random directions, away from kinks.

Layers one by one, then networks, then losses. What comes from above is always random: the gradient of a softmax with
ones above it is zero, whatever the code does.
"""

import numpy as np
import pytest
from gradient_check import directional_error

from mlpaper.engine import backend, losses
from mlpaper.engine.layers import Activation, BatchNorm, Dense, Dropout, Layer, Residual
from mlpaper.engine.network import Network
from mlpaper.spec import AbsoluteErrorSpec, CrossEntropySpec, NetworkSpec, SquaredErrorSpec

STEP = 1
"""Any update: batch norm uses the batch, and dropout the same mask at every call."""

DEVICES = ["cpu", "reference"]
ACTIVATIONS = ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"]
WIDTH = 6


class Parts:
    """Makes layers with random parameters, and keeps these parameters and their gradients by name."""

    def __init__(self, device: str) -> None:
        self.backend = backend.select(device, np.float64)
        self.rng = np.random.default_rng(5)
        self.tensors: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def pair(self, name: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        self.tensors[name] = self.rng.normal(size=shape), np.full(shape, np.nan)
        return self.tensors[name]

    def dense(self, name: str = "", outputs: int = WIDTH, first: bool = False) -> Dense:
        (w, dw), (b, db) = self.pair(f"{name}weight", WIDTH, outputs), self.pair(f"{name}bias", outputs)
        return Dense(self.backend, w, b, dw, db, 20, first)

    def batch_norm(self) -> BatchNorm:
        (gamma, dgamma), (beta, dbeta) = self.pair("gamma", WIDTH), self.pair("beta", WIDTH)
        return BatchNorm(self.backend, gamma, beta, dgamma, dbeta, np.ones((2, WIDTH)), 20)

    def activation(self, name: str) -> Activation:
        return Activation(self.backend, name, 20, WIDTH)

    def dropout(self) -> Dropout:
        return Dropout(self.backend, 0.4, seed=3, number=1, rows=20, width=WIDTH)


LAYERS = {
    "dense": lambda parts: parts.dense(outputs=4),
    "batch norm": lambda parts: parts.batch_norm(),
    "dropout": lambda parts: parts.dropout(),
    **{name: lambda parts, name=name: parts.activation(name) for name in ACTIVATIONS},
    "residual of one layer": lambda parts: Residual([parts.dense()], parts.activation("relu")),
    "residual of two layers": lambda parts: Residual(
        [parts.dense("first "), parts.activation("silu"), parts.dropout(), parts.dense("second "), parts.batch_norm()],
        parts.activation("gelu"),
    ),
}
"""How to make one layer of every kind."""


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("device", DEVICES)
def test_layers(name: str, device: str) -> None:
    parts = Parts(device)
    layer: Layer = LAYERS[name](parts)
    x = parts.rng.normal(size=(13, WIDTH))  # fewer rows than the buffers have
    dy = parts.rng.normal(size=layer.forward(x.copy(), STEP).shape)
    start = {name: tensor.copy() for name, (tensor, _) in parts.tensors.items()}

    def value() -> float:
        return float(np.sum(layer.forward(x.copy(), STEP) * dy))  # a copy, as some layers work in place

    value()
    gradients = {"input": np.copy(layer.backward(dy.copy()))}
    gradients |= {name: gradient.copy() for name, (_, gradient) in parts.tensors.items()}
    for tensor, gradient in gradients.items():
        where = x if tensor == "input" else parts.tensors[tensor][0]
        if tensor == "second bias":  # the batch's mean takes it away
            np.testing.assert_allclose(gradient, 0, atol=1e-12)
            continue
        assert np.abs(gradient).max() > 0.1, f"{tensor}: a gradient of zero proves nothing"
        assert directional_error(value, where, gradient, parts.rng) < 1e-6, tensor
    for tensor, before in start.items():
        np.testing.assert_array_equal(parts.tensors[tensor][0], before)


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_layer_has_the_same_gradients_and_none_of_its_input(device: str) -> None:
    x, dy = np.random.default_rng(0).normal(size=(2, 13, WIDTH))
    made = []
    for first in (False, True):
        parts = Parts(device)
        layer = parts.dense(first=first)
        layer.forward(x, STEP)
        assert (layer.backward(dy.copy()) is None) == first
        made.append(parts.tensors)
    for name, (_, gradient) in made[0].items():
        np.testing.assert_array_equal(gradient, made[1][name][1])


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
    "linear": NetworkSpec(hidden=()),
    "one hidden layer": NetworkSpec(hidden=(7,)),
    "three hidden layers": NetworkSpec(hidden=(6, 5, 4)),
    "batch norm": NetworkSpec(hidden=(9, 6), batch_norm=True),
    "dropout": NetworkSpec(hidden=(9, 6), dropout=0.3),
    "residual blocks of one layer": NetworkSpec(hidden=(6,) * 4, residual=1),
    "residual blocks of two layers": NetworkSpec(hidden=(6,) * 5, residual=2, activation="tanh"),
    "everything": NetworkSpec(hidden=(8,) * 5, residual=2, activation="silu", batch_norm=True, dropout=0.2),
    "residual blocks with dropout": NetworkSpec(hidden=(6,) * 5, residual=2, activation="sigmoid", dropout=0.3),
}
NETWORKS |= {name: NetworkSpec(hidden=(7, 5), activation=name) for name in ACTIVATIONS[1:]}
NETWORKS |= {f"{name}, dropout": NetworkSpec(hidden=(7, 5), activation=name, dropout=0.3) for name in ACTIVATIONS}

LOSSES = {
    "mean": CrossEntropySpec(),
    "sum": CrossEntropySpec(reduction="sum"),
    "smoothed": CrossEntropySpec(label_smoothing=0.2),
    "weighted": CrossEntropySpec(class_weights=(0.5, 2.0, 1.0, 0.1), label_smoothing=0.1),
    "squared error": SquaredErrorSpec(),
    "absolute error": AbsoluteErrorSpec(reduction="sum"),
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


def check(network_options: NetworkSpec, loss_options, device: str) -> None:
    rng = np.random.default_rng(3)
    float64 = backend.select(device, np.float64)
    network = Network(float64, network_options, inputs=8, classes=4, rows=16)
    loss = losses.build(float64, loss_options, 16, np.ones(4, dtype=np.int64))
    network.parameters.flat[...] += 0.3 * rng.normal(size=network.parameters.flat.shape)
    x, labels = rng.normal(size=(16, 8)), rng.integers(0, 4, 16)
    network.backward(loss.gradient(network.forward(x, STEP), labels, np.zeros(3)))

    def value() -> float:
        return objective(loss_options, network.forward(x, STEP), labels)

    gradients = network.gradients.flat.copy()
    assert directional_error(value, network.parameters.flat, gradients, rng) < 1e-6
    for name in network.gradients.views:  # every tensor by itself: a wrong bias cannot hide behind large weights
        gradient = network.gradients[name].copy()
        behind_batch_norm = name.endswith("bias") and name.replace("bias", "gamma") in network.gradients.views
        if behind_batch_norm:
            np.testing.assert_allclose(gradient, 0, atol=1e-12)  # the batch's mean takes any shift away
            continue
        assert directional_error(value, network.parameters[name], gradient, rng) < 1e-6, name
        assert np.abs(gradient).max() > 1e-5, f"{name}: a gradient of zero proves nothing"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("device", DEVICES)
def test_networks(name: str, device: str) -> None:
    check(NETWORKS[name], CrossEntropySpec(), device)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("device", DEVICES)
def test_losses(name: str, device: str) -> None:
    check(NetworkSpec(hidden=(7,), activation="tanh"), LOSSES[name], device)
