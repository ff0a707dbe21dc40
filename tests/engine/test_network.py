"""Networks and parameters: published sizes, flat storage, initial weights."""

import numpy as np
import pytest

from mlpaper.engine import backend
from mlpaper.engine.network import Network
from mlpaper.engine.params import Layout, Vector
from mlpaper.spec import NetworkSpec


@pytest.mark.parametrize(
    ("hidden", "parameters"), [((128, 64), 111_791), ((400, 240, 120), 444_847), ((370, 370), 445_157)]
)
def test_parameter_counts_are_the_published_ones(hidden: tuple[int, ...], parameters: int) -> None:
    assert Layout.of((784, *hidden, 47), batch_norm=False).size == parameters


def test_views_share_the_flat_vector_and_weights_are_one_slice() -> None:
    vector = Vector(backend.select("cpu"), Layout.of((3, 4, 2), batch_norm=False))
    for name, view in vector.views.items():
        assert np.shares_memory(view, vector.flat)
        view[...] = 1 if name.endswith("weight") else 2
    np.testing.assert_array_equal(vector.weights, 1)
    np.testing.assert_array_equal(vector.flat[len(vector.weights) :], 2)


def test_he_initialisation() -> None:
    network = Network(backend.select("cpu"), NetworkSpec(hidden=(500,)), inputs=784, classes=10, rows=1)
    weights = network.parameters["0.weight"]
    assert abs(weights.std() / np.sqrt(2 / 784) - 1) < 0.01
    assert abs(weights.mean()) < 1e-3
    np.testing.assert_array_equal(network.parameters["0.bias"], 0)


def test_a_tensor_starts_the_same_whatever_comes_after_it() -> None:
    shallow, deep = (
        Network(backend.select("cpu"), NetworkSpec(hidden=hidden), inputs=20, classes=3, rows=1)
        for hidden in ((8,), (8, 8))
    )
    np.testing.assert_array_equal(shallow.parameters["0.weight"], deep.parameters["0.weight"])
