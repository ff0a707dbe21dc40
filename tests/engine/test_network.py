"""Networks and parameters: published sizes, flat storage, initial weights."""

import numpy as np
import pytest

from mlpaper.engine import backend
from mlpaper.engine.network import Network
from mlpaper.engine.params import Layout
from mlpaper.spec import NetworkSpec, UniformInitializer


@pytest.mark.parametrize(
    ("hidden", "parameters"), [((128, 64), 111_791), ((400, 240, 120), 444_847), ((370, 370), 445_157)]
)
def test_parameter_counts_are_the_published_ones(hidden: tuple[int, ...], parameters: int) -> None:
    assert Layout.of((784, *hidden, 47), batch_norm=False).size == parameters


INITIALIZERS = {
    "he_normal": lambda fan_in, fan_out: np.sqrt(2 / fan_in),
    "he_uniform": lambda fan_in, fan_out: np.sqrt(2 / fan_in),
    "xavier_normal": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "xavier_uniform": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "pytorch": lambda fan_in, fan_out: np.sqrt(1 / (3 * fan_in)),
}
"""Standard deviation of the weights, from fan_in and fan_out."""


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_have_the_published_spread(name: str) -> None:
    options = NetworkSpec(hidden=(500, 90), initializer=name)
    network = Network(backend.select("cpu"), options, inputs=784, classes=200, rows=1)
    for tensor, (fan_in, fan_out) in network.parameters.layout.weights:
        weights, expected = network.parameters[tensor], INITIALIZERS[name](fan_in, fan_out)
        assert weights.std() == pytest.approx(expected, rel=0.02)
        assert abs(weights.mean()) < 0.02 * expected
        if "uniform" in name or name == "pytorch":
            assert np.abs(weights).max() == pytest.approx(np.sqrt(3) * expected, rel=0.01)
        bias = network.parameters[tensor.replace("weight", "bias")]
        if name == "pytorch":
            assert np.abs(bias).max() == pytest.approx(1 / np.sqrt(fan_in), rel=0.1)
        else:
            np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize("biases", [False, True])
def test_the_uniform_initializer_covers_its_range(biases: bool) -> None:
    options = NetworkSpec(hidden=(500,), initializer=UniformInitializer(bound=0.5, biases=biases))
    network = Network(backend.select("cpu"), options, inputs=784, classes=10, rows=1)
    weights, bias = network.parameters["0.weight"], network.parameters["0.bias"]
    assert (weights.min(), weights.max()) == (pytest.approx(-0.5, abs=1e-3), pytest.approx(0.5, abs=1e-3))
    assert np.abs(bias).max() == (pytest.approx(0.5, abs=0.01) if biases else 0)


def test_batch_norm_starts_as_the_identity_of_what_it_normalises() -> None:
    network = Network(backend.select("cpu"), NetworkSpec(hidden=(5, 4), batch_norm=True), inputs=3, classes=2, rows=1)
    for i in (0, 1):
        np.testing.assert_array_equal(network.parameters[f"{i}.gamma"], 1)
        np.testing.assert_array_equal(network.parameters[f"{i}.beta"], 0)


def test_the_published_size_with_batch_norm() -> None:
    assert Layout.of((784, 400, 400, 47), batch_norm=True).size == 494_847


def test_a_tensor_starts_the_same_whatever_comes_after_it() -> None:
    shallow, deep = (
        Network(backend.select("cpu"), NetworkSpec(hidden=hidden), inputs=20, classes=3, rows=1)
        for hidden in ((8,), (8, 8))
    )
    np.testing.assert_array_equal(shallow.parameters["0.weight"], deep.parameters["0.weight"])


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_running_statistics_by_hand(device: str) -> None:
    """A tenth of each batch's mean and unbiased variance is taken in, and evaluation normalises with what results."""
    rng, float64 = np.random.default_rng(0), backend.select(device, np.float64)
    network = Network(float64, NetworkSpec(hidden=(4,), batch_norm=True), inputs=3, classes=2, rows=8)
    network.parameters.flat[...] = rng.normal(size=network.parameters.flat.shape)
    mean, variance = np.zeros(4), np.ones(4)
    w, b, gamma, beta = (network.parameters[f"0.{name}"] for name in ("weight", "bias", "gamma", "beta"))
    for step, x in enumerate(rng.normal(size=(3, 8, 3)), start=1):
        network.forward(x, step)
        z = x @ w + b
        mean, variance = 0.9 * mean + 0.1 * z.mean(axis=0), 0.9 * variance + 0.1 * z.var(axis=0, ddof=1)
    np.testing.assert_allclose(network.statistics, [mean, variance], rtol=1e-12)
    hidden = np.maximum(gamma * (z - mean) / np.sqrt(variance + 1e-5) + beta, 0)
    expected = hidden @ network.parameters["1.weight"] + network.parameters["1.bias"]
    np.testing.assert_allclose(network.forward(x), expected, rtol=1e-12)
