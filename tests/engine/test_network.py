"""Networks and parameters: published sizes, flat storage, initial weights."""

import numpy as np
import pytest
from small_runs import spec_of

from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.model import Model, flat_state, named_views
from mlpaper.engine.network import Layout, describe
from mlpaper.errors import DataError
from mlpaper.spec import NetworkSpec, UniformInitializer


def _model(inputs: int, classes: int, **options: object) -> Model:
    return Model(backend.select("cpu"), describe(NetworkSpec(**options), inputs, classes), 0)


def _tensors(model: Model) -> dict[str, np.ndarray]:
    return named_views(model.parameters, model.network.layout)


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
    tensors = _tensors(_model(784, 200, hidden=(500, 90), initializer=name))
    for i, (fan_in, fan_out) in enumerate(((784, 500), (500, 90), (90, 200))):
        weights, expected = tensors[f"{i}.weight"], INITIALIZERS[name](fan_in, fan_out)
        assert weights.std() == pytest.approx(expected, rel=0.02)
        assert abs(weights.mean()) < 0.02 * expected
        if "uniform" in name or name == "pytorch":
            assert np.abs(weights).max() == pytest.approx(np.sqrt(3) * expected, rel=0.01)
        bias = tensors[f"{i}.bias"]
        if name == "pytorch":
            assert np.abs(bias).max() == pytest.approx(1 / np.sqrt(fan_in), rel=0.1)
        else:
            np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize("biases", [False, True])
def test_the_uniform_initializer_covers_its_range(biases: bool) -> None:
    tensors = _tensors(_model(784, 10, hidden=(500,), initializer=UniformInitializer(bound=0.5, biases=biases)))
    weights, bias = tensors["0.weight"], tensors["0.bias"]
    assert (weights.min(), weights.max()) == (pytest.approx(-0.5, abs=1e-3), pytest.approx(0.5, abs=1e-3))
    assert np.abs(bias).max() == (pytest.approx(0.5, abs=0.01) if biases else 0)


def test_batch_norm_starts_as_the_identity_of_what_it_normalises() -> None:
    tensors = _tensors(_model(3, 2, hidden=(5, 4), batch_norm=True))
    for i in (0, 1):
        np.testing.assert_array_equal(tensors[f"{i}.gamma"], 1)
        np.testing.assert_array_equal(tensors[f"{i}.beta"], 0)


def test_the_published_size_with_batch_norm() -> None:
    assert Layout.of((784, 400, 400, 47), batch_norm=True).size == 494_847


def test_a_tensor_starts_the_same_whatever_comes_after_it() -> None:
    shallow, deep = (_tensors(_model(20, 3, hidden=hidden)) for hidden in ((8,), (8, 8)))
    np.testing.assert_array_equal(shallow["0.weight"], deep["0.weight"])


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_running_statistics_by_hand(device: str) -> None:
    """A tenth of each batch's mean and unbiased variance is taken in, and evaluation normalises with what results."""
    rng = np.random.default_rng(0)
    spec = spec_of(network={"hidden": [4], "batch_norm": True}, batch_size=8)
    pool = Pool(np.zeros((8, 3), np.uint8), np.arange(8) % 2, 2)
    run = executor_for(spec, backend.select(device, np.float64), pool, np.arange(8))
    run.model.parameters[...] = rng.normal(size=run.model.parameters.shape)
    mean, variance, tensors = np.zeros(4), np.ones(4), _tensors(run.model)
    w, b, gamma, beta = (tensors[f"0.{name}"] for name in ("weight", "bias", "gamma", "beta"))
    for x in rng.normal(size=(3, 8, 3)):
        run.gradient(x, pool.labels)
        z = x @ w + b
        mean, variance = 0.9 * mean + 0.1 * z.mean(axis=0), 0.9 * variance + 0.1 * z.var(axis=0, ddof=1)
    np.testing.assert_allclose(run.model.statistics, [mean, variance], rtol=1e-12)
    hidden = np.maximum(gamma * (z - mean) / np.sqrt(variance + 1e-5) + beta, 0)
    outputs = hidden @ tensors["1.weight"] + tensors["1.bias"]
    expected = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    found = run.predict(x)
    np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-11)
    np.testing.assert_allclose(found.confidence, np.exp(expected).max(axis=1), rtol=1e-11)


def test_weights_are_named_tensors_that_give_the_same_state_back() -> None:
    model, again = (_model(7, 3, hidden=(5, 4), batch_norm=True) for _ in range(2))
    model.state[...] = np.random.default_rng(0).normal(size=model.state.shape)
    tensors = model.tensors()
    assert {name: it.shape for name, it in tensors.items() if name.startswith("1")} == {
        "1.weight": (5, 4), "1.bias": (4,), "1.gamma": (4,), "1.beta": (4,), "1.running_mean": (4,),
        "1.running_variance": (4,),
    }  # fmt: skip
    np.testing.assert_array_equal(flat_state(tensors), model.state)
    again.load(tensors, "weights.npz")
    np.testing.assert_array_equal(again.state, model.state)


def test_weights_of_another_network_or_version_are_refused() -> None:
    model, before = _model(7, 3, hidden=(5,)), _model(7, 3, hidden=(5,)).state
    for tensors, message in (
        ({"state": before}, r"runs/a/weights.npz was written by an older version: remove the run's folder"),
        (_model(7, 3, hidden=(6,)).tensors(), "does not fit the network"),
    ):
        with pytest.raises(DataError, match=message):
            model.load(tensors, "runs/a/weights.npz")
    np.testing.assert_array_equal(model.state, before)
