"""Analytic gradients against central differences in float64, in random directions, away from kinks."""

import numpy as np
import pytest
from gradient_check import directional_error

from mlpaper.engine import backend, losses
from mlpaper.engine.network import Network
from mlpaper.spec import AbsoluteErrorSpec, CrossEntropySpec, NetworkSpec, SquaredErrorSpec

STEP = 1
"""Any update: batch norm uses the batch, and dropout the same mask at every call."""

NETWORKS = {
    "linear": NetworkSpec(hidden=()),
    "one hidden layer": NetworkSpec(hidden=(7,)),
    "three hidden layers": NetworkSpec(hidden=(6, 5, 4)),
    "batch norm": NetworkSpec(hidden=(9, 6), batch_norm=True),
    "dropout": NetworkSpec(hidden=(9, 6), dropout=0.3),
    "residual blocks of one layer": NetworkSpec(hidden=(6,) * 4, residual=1),
    "residual blocks of two layers": NetworkSpec(hidden=(6,) * 5, residual=2, activation="tanh"),
    "everything": NetworkSpec(hidden=(8,) * 5, residual=2, activation="silu", batch_norm=True, dropout=0.2),
} | {name: NetworkSpec(hidden=(7, 5), activation=name) for name in ("leaky_relu", "sigmoid", "tanh", "gelu", "silu")}

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


def check(network_options: NetworkSpec, loss_options, device: str = "cpu") -> None:
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
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_networks(name: str, device: str) -> None:
    check(NETWORKS[name], CrossEntropySpec(), device)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    check(NetworkSpec(hidden=(7,), activation="tanh"), LOSSES[name])
