"""Analytic gradients against central differences in float64, in random directions, away from kinks."""

import numpy as np
import pytest
from gradient_check import directional_error

from mlpaper.engine import backend
from mlpaper.engine.losses import CrossEntropy
from mlpaper.engine.network import Network
from mlpaper.spec import NetworkSpec


@pytest.mark.parametrize("hidden", [(), (7,), (9, 5), (6, 5, 4)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_network_gradients(hidden: tuple[int, ...], reduction: str, device: str) -> None:
    rng = np.random.default_rng(len(hidden))
    float64 = backend.select(device, np.float64)
    network = Network(float64, NetworkSpec(hidden=hidden), inputs=8, classes=4, rows=16)
    loss = CrossEntropy(float64, 16, 4, reduction)
    network.parameters.flat[...] += 0.1 * rng.normal(size=network.parameters.flat.shape)
    x, labels = rng.normal(size=(16, 8)), rng.integers(0, 4, 16)

    def value() -> float:
        totals = np.zeros(3)
        loss.gradient(network.forward(x), labels, totals)
        return totals[0] / (16 if reduction == "mean" else 1)

    network.backward(loss.gradient(network.forward(x), labels, np.zeros(3)))
    assert directional_error(value, network.parameters.flat, network.gradients.flat.copy(), rng) < 1e-6
    for name in network.gradients.views:  # every tensor by itself: a wrong bias cannot hide behind large weights
        view, gradient = network.parameters[name], network.gradients[name].copy()
        assert directional_error(value, view, gradient, rng) < 1e-6, name
        assert np.abs(gradient).max() > 1e-4, f"{name}: a gradient of zero proves nothing"
