"""The compiled executor against the readable one, and the products it is made of against NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
from small_runs import make_trainer

from mlpaper.engine import backend
from mlpaper.engine.compiled import CompiledExecutor, aligned
from mlpaper.engine.ops import pixels, product
from mlpaper.engine.ops.tiling import DEPTH, EIGHT, ROWS
from mlpaper.engine.ops.tiling import IMAGES as BLOCK
from mlpaper.engine.readable import ReadableExecutor
from mlpaper.engine.train import Trainer
from mlpaper.spec import RunSpec

RNG = np.random.default_rng(3)


def _images(count: int, size: int) -> np.ndarray:
    """Bytes of which two thirds are background; one image is empty."""
    images = RNG.integers(1, 256, (count, size), dtype=np.uint8) * (RNG.random((count, size)) < 1 / 3)
    images[5] = 0
    return images.astype(np.uint8)


IMAGES, LABELS = _images(700, 49), RNG.integers(0, 10, 700)
ADAM, SGD = {"name": "adam", "learning_rate": 1e-3}, {"name": "sgd", "learning_rate": 0.05}
STANDARD = {"mean": 0.1307, "std": 0.3081}
CASES = {
    **{f"{name}": {"network": {"hidden": [20, 13], "activation": name, "dropout": 0.3}}
       for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")},
    "linear": {"network": {"hidden": []}},
    "wide": {"network": {"hidden": [150, 131]}, "optimizer": SGD},
    "a wide block, and a last batch of one image": {
        "network": {"hidden": [1100, 1100], "residual": 1}, "optimizer": SGD, "epochs": 1, "batch_size": 59,
    },
    "augmented": {"augmentation": {"shift": 1, "rotation": 10}, "network": {"hidden": [20, 13], "dropout": 0.2}},
    "residual": {"network": {"hidden": [20] * 5, "residual": 1}},
    "blocks of two": {
        "network": {"hidden": [20] * 5, "residual": 2, "activation": "silu", "dropout": 0.2}, "optimizer": SGD,
    },
    "normalised": {"network": {"hidden": [20, 13], "batch_norm": True, "dropout": 0.1}, "optimizer": SGD},
    "normalised blocks": {
        "network": {"hidden": [20] * 4, "residual": 1, "batch_norm": True, "activation": "gelu"}, "optimizer": SGD,
    },
    "batch of one": {"batch_size": 1, "optimizer": SGD},
    "full batch": {"batch_size": "full", "optimizer": SGD},
    "larger than a block": {"batch_size": 600, "optimizer": SGD},
    "standardised": {"input": STANDARD, "optimizer": SGD},
    "momentum": {"optimizer": SGD | {"momentum": 0.9}},
    "nesterov": {"optimizer": SGD | {"momentum": 0.9, "nesterov": True}, "input": STANDARD},
    "decay": {"decay": {"l2": 1e-2, "decoupled": 1e-2}},
    "decay of all, clipped": {"decay": {"l2": 1e-2, "parameters": "all"}, "clip_norm": 0.1, "optimizer": SGD},
    "sums": {"loss": {"name": "cross_entropy", "reduction": "sum"}, "optimizer": SGD | {"learning_rate": 1e-3}},
    "weighted": {"loss": {"name": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1}},
    "weighted sums": {
        "loss": {"name": "cross_entropy", "class_weights": list(range(1, 11)), "reduction": "sum"},
        "optimizer": SGD | {"learning_rate": 1e-4},
    },
    "squared error": {"loss": {"name": "squared_error"}},
    "absolute error": {"loss": {"name": "absolute_error", "reduction": "sum"}},
}  # fmt: skip


# parts of compiled code, to be called by themselves
multiply = numba.njit(lambda *arguments: product.multiply(*arguments))
multiply_images = numba.njit(lambda *arguments: pixels.multiply_images(*arguments))
multiply_pixels = numba.njit(lambda *arguments: pixels.multiply_pixels(*arguments))


def _trainer(device: str, dtype: type, values: dict) -> Trainer:
    return trainer_on(backend.select(device, dtype), values)


def trainer_on(made: backend.Backend, values: dict, placement: str = "auto") -> Trainer:
    """A trainer of 650 images, 50 for validation, for two epochs unless `values` of the specification say otherwise."""
    defaults = {"dataset": {"name": "digits"}, "network": {"hidden": [20, 13]}, "batch_size": 37, "epochs": 2}
    spec = RunSpec.model_validate(defaults | {"optimizer": ADAM, "record_steps": True} | values)
    train, validation = np.arange(650), np.arange(650, 700)
    return make_trainer(spec, made, IMAGES, LABELS, train, validation, 10, placement)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-4)])
def test_the_compiled_loop_does_what_the_readable_executor_does(case: str, dtype: type, tolerance: float) -> None:
    """Weights, statistics, optimiser state, history and losses of the steps, after two epochs."""
    compiled, readable = (_trainer(device, dtype, CASES[case]) for device in ("cpu", "reference"))
    assert isinstance(compiled.executor, CompiledExecutor)
    assert isinstance(readable.executor, ReadableExecutor)
    for trainer in (compiled, readable):
        trainer.run()
    scale = np.abs(readable.executor.model.state).max()
    np.testing.assert_allclose(
        compiled.executor.model.state, readable.executor.model.state, rtol=0, atol=tolerance * scale
    )
    for name, vector in readable.executor.optimizer.state.items():
        atol = tolerance * np.abs(vector).max()
        np.testing.assert_allclose(compiled.executor.optimizer.state[name], vector, rtol=0, atol=atol)
    np.testing.assert_allclose(compiled.progress.steps, readable.progress.steps, rtol=tolerance, atol=tolerance)
    for mine, other in zip(compiled.progress.history, readable.progress.history, strict=True):
        assert (mine.epoch, mine.step, mine.lr) == (other.epoch, other.step, other.lr)
        assert mine.train_loss == pytest.approx(other.train_loss, rel=tolerance)
        assert mine.validation_loss == pytest.approx(other.validation_loss, rel=tolerance)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_seen_at_the_same_step() -> None:
    values = {"optimizer": SGD | {"learning_rate": 1e30}}
    runs = [_trainer(device, np.float32, values) for device in ("cpu", "reference")]
    steps = [trainer.run().diverged_at_step for trainer in runs]
    assert [trainer.progress.outcome for trainer in runs] == ["diverged"] * 2
    assert steps[0] == steps[1] is not None


def _scratch(m: int, k: int, dtype: type) -> product.Scratch:
    """Space for products with A (m, k)."""
    tiles, images = m // ROWS + 1, BLOCK * (k + ROWS)
    return product.Scratch(
        aligned(max(DEPTH, k) * (m + 200), np.dtype(dtype)),
        np.empty((BLOCK, k), np.uint8),
        np.empty(images, dtype),
        np.empty(max(tiles * min(DEPTH, k), images) + EIGHT, np.int32),
        np.empty(max(tiles, BLOCK + k), np.int64),
    )


SHAPES = [(1, 10, 784), (5, 47, 33), (13, 64, 1), (7, 130, 0), (140, 70, 1100), (1030, 260, 37)]


def _ways(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[Any, Any]]:
    """Each operand plain and transposed, as `product.multiply` takes them."""
    (m, k), n = a.shape, b.shape[1]
    for one in ((a.ravel(), 0, k, 1), (a.T.ravel(), 0, 1, m)):
        for other in ((b.ravel(), 0, n, 1), (b.T.ravel(), 0, 1, k)):
            yield one, other


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_equal_those_of_numpy(m: int, n: int, k: int, dtype: type) -> None:
    """The sum begins with a row, or with what is there; it ends at a least value; nothing else is written."""
    a, b, start = (RNG.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))
    before, scratch, none = RNG.normal(size=(m, n)).astype(dtype), _scratch(m, k, dtype), dtype(-np.inf)
    for operands in _ways(a, b):
        c = np.full(m * n + 16, np.nan, dtype)
        multiply(m, n, k, *operands, (start, 0, 0), dtype(1), none, (c, 8, n), False, scratch)
        np.testing.assert_allclose(c[8:-8].reshape(m, n), a @ b + start, rtol=1e-4, atol=1e-4)
        assert np.isnan(c[:8]).all()
        assert np.isnan(c[-8:]).all()
        c[8:-8] = before.ravel()
        multiply(m, n, k, *operands, (c, 8, n), dtype(-0.5), dtype(0.25), (c, 8, n), False, scratch)
        expected = np.maximum(before - 0.5 * (a @ b), 0.25)
        np.testing.assert_allclose(c[8:-8].reshape(m, n), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_terms_of_zeros_are_left_out_without_a_trace(m: int, n: int, k: int, dtype: type, share: float) -> None:
    """Bit for bit the products with all terms, whichever sign a zero has; and NaN is no zero."""
    a, b, start = (RNG.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))
    a *= RNG.random((m, k)) < share
    a[:, : k // 3] *= np.repeat(RNG.random((m // ROWS + 1, k // 3)) < 0.5, ROWS, axis=0)[:m]
    scratch, none = _scratch(m, k, dtype), dtype(-np.inf)
    for value in (None, np.nan):
        if value is not None:
            a[m // 2, k // 2 :] = value
        for number, operands in enumerate(_ways(a, b)):
            scratch.places[:] = -1
            some, every = np.full((2, m * n), np.nan, dtype)
            multiply(m, n, k, *operands, (start, 0, 0), dtype(1), none, (some, 0, n), True, scratch)
            multiply(m, n, k, *operands, (start, 0, 0), dtype(1), none, (every, 0, n), False, scratch)
            np.testing.assert_array_equal(some, every)
            if k and value is None and (number < 2 or m * n > product.LARGE):  # else A is transposed and not copied
                rows = min(ROWS, m)
                last = a[:rows, (k - 1) // DEPTH * DEPTH :]
                terms = np.flatnonzero(last.any(axis=0))
                assert scratch.counts[0] == len(terms)
                np.testing.assert_array_equal(scratch.places[: len(terms)], terms)


@pytest.mark.parametrize(("count", "size"), [(1, 784), (4, 49), (16, 64), (700, 50), (37, 3)])
def test_background_is_left_out_of_products_without_a_trace(count: int, size: int) -> None:
    """Bit for bit the products of all pixels: a term whose factor is 0 changes no sum."""
    images, table = _images(max(count, 6), size), RNG.normal(size=256).astype(np.float32)
    table[0], n, one, none = 0, 70, np.float32(1), np.float32(-np.inf)
    index = RNG.permutation(len(images))[:count]
    batch = pixels.Batch(images, index, table)
    x = np.ascontiguousarray(table[images[index]])
    w, dy, start = (RNG.normal(size=shape).astype(np.float32) for shape in ((size, n), (count, n), n))
    scratch = _scratch(max(size, count), size, np.float32)
    y, all_y, dw, all_dw = (np.empty(rows * n, np.float32) for rows in (count, count, size, size))
    flat_x, flat_w, flat_dy, first = x.ravel(), w.ravel(), dy.ravel(), (start, 0, 0)
    multiply_images(batch, n, (flat_w, 0), (start, 0), none, (y, 0), scratch)
    operands = ((flat_x, 0, size, 1), (flat_w, 0, n, 1))
    multiply(count, n, size, *operands, first, one, none, (all_y, 0, n), False, scratch)
    np.testing.assert_array_equal(y, all_y)
    np.testing.assert_allclose(y.reshape(count, n), x @ w + start, rtol=1e-3, atol=1e-3)
    multiply_pixels(batch, n, (flat_dy, 0), (start, 0), False, one, (dw, 0), scratch)
    operands = ((flat_x, 0, 1, size), (flat_dy, 0, n, 1))
    multiply(size, n, count, *operands, first, one, none, (all_dw, 0, n), False, scratch)
    np.testing.assert_allclose(dw.reshape(size, n), x.T @ dy + start, rtol=1e-3, atol=1e-3)
    if count <= BLOCK:
        np.testing.assert_array_equal(dw, all_dw)


def test_evaluation_does_not_depend_on_the_company() -> None:
    """Every image's loss is the same number alone, in a batch, and among all."""
    trainer = _trainer("cpu", np.float32, {"network": {"hidden": [150, 131]}})
    trainer.epoch()
    together = trainer.executor.evaluate(np.arange(600))[0]
    alone = [trainer.executor.evaluate(np.array([i]))[0] for i in range(600)]
    assert np.mean(alone) == pytest.approx(together, rel=1e-12)
