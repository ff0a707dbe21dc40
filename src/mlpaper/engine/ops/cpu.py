"""Compiled versions of the hot operations of `reference`, with the same signatures.

Only what pays is here; everything else comes from `reference`. An operation takes arrays of any shape and plain
numbers, and hands them to its kernel, of the same name in `kernels`. Scalars are converted to the arrays' own type
before a kernel sees them, since float32 arrays times float64 scalars would be computed in float64.

The kernels need numba, which takes longer to load than many a run to train. So they are loaded on their first use: a
run of the compiled loop (`engine.program`) makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.ops import reference


@cache
def _kernels() -> Any:
    from mlpaper.engine.ops import kernels

    return kernels


def __getattr__(name: str) -> Callable[..., None]:
    """What is not overridden here is the reference's."""
    return getattr(reference, name)  # type: ignore[no-any-return]


def gather(images: Array, index: Array, table: Array, out: Array) -> None:
    """See `reference.gather`."""
    _kernels().gather(images, index, table, out)


def linear(x: Array, w: Array, b: Array, y: Array) -> None:
    """See `reference.linear`."""
    np.matmul(x, w, out=y)
    _kernels().add_row(b, y)


def linear_backward(x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
    """See `reference.linear_backward`."""
    np.matmul(x.T, dy, out=dw)
    _kernels().sum_rows(dy, db)
    if dx is not None:
        np.matmul(dy, w.T, out=dx)


def affine(x: Array, w: Array, b: Array, skip: Array | None, activation: str, y: Array) -> None:
    """See `reference.affine`."""
    reference._affine(globals(), x, w, b, skip, activation, y)


def affine_backward(
    x: Array, w: Array, y: Array, activation: str, dy: Array, dw: Array, db: Array, dx: Array | None
) -> None:
    """See `reference.affine_backward`."""
    reference._affine_backward(globals(), x, w, y, activation, dy, dw, db, dx)


def _in_place(kernel: Callable[..., None], source: Array, target: Array, *before: Array) -> None:
    """Carry out a kernel that works in place on `target`, which takes over what is in `source`."""
    if source is not target:
        np.copyto(target, source)
    kernel(*(array.reshape(-1) for array in (*before, target)))


def relu(x: Array, y: Array) -> None:
    """See `reference.relu`."""
    _in_place(_kernels().relu, x, y)


def relu_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.relu_backward`."""
    _in_place(_kernels().relu_backward, dy, dx, y)


def leaky_relu(x: Array, y: Array) -> None:
    """See `reference.leaky_relu`."""
    _in_place(_kernels().leaky_relu, x, y)


def leaky_relu_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.leaky_relu_backward`."""
    _in_place(_kernels().leaky_relu_backward, dy, dx, y)


def sigmoid(x: Array, y: Array) -> None:
    """See `reference.sigmoid`."""
    _in_place(_kernels().sigmoid, x, y)


def sigmoid_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.sigmoid_backward`."""
    _in_place(_kernels().sigmoid_backward, dy, dx, y)


def tanh(x: Array, y: Array) -> None:
    """See `reference.tanh`."""
    _in_place(_kernels().tanh, x, y)


def tanh_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.tanh_backward`."""
    _in_place(_kernels().tanh_backward, dy, dx, y)


def gelu(x: Array, y: Array) -> None:
    """See `reference.gelu`."""
    _kernels().gelu(x.reshape(-1), y.reshape(-1))


def gelu_backward(x: Array, dy: Array, dx: Array) -> None:
    """See `reference.gelu_backward`."""
    _kernels().gelu_backward(x.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def silu(x: Array, y: Array) -> None:
    """See `reference.silu`."""
    _kernels().silu(x.reshape(-1), y.reshape(-1))


def silu_backward(x: Array, dy: Array, dx: Array) -> None:
    """See `reference.silu_backward`."""
    _kernels().silu_backward(x.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def batch_norm(x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array) -> None:
    """See `reference.batch_norm`."""
    mean, variance = statistics
    _kernels().batch_norm(x, gamma, beta, x.dtype.type(epsilon), normal, y, mean, variance, np.empty_like(gamma))


def batch_norm_backward(
    normal: Array, variance: Array, gamma: Array, epsilon: float, dy: Array, dgamma: Array, dbeta: Array, dx: Array
) -> None:
    """See `reference.batch_norm_backward`."""
    factor = np.empty_like(gamma)
    _kernels().batch_norm_backward(normal, variance, gamma, dy.dtype.type(epsilon), dy, dgamma, dbeta, dx, factor)


def cross_entropy(logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
    """See `reference.cross_entropy`."""
    _kernels().cross_entropy(logits, labels, logits.dtype.type(scale), dlogits, totals)


def weighted_cross_entropy(
    logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
) -> None:
    """See `reference.weighted_cross_entropy`."""
    _kernels().weighted_cross_entropy(logits, labels, targets, logits.dtype.type(scale), dlogits, totals)


def squared_error(outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
    """See `reference.squared_error`."""
    _kernels().squared_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)


def absolute_error(outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
    """See `reference.absolute_error`."""
    _kernels().absolute_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)


def add_scaled(y: Array, x: Array, factor: float) -> None:
    """See `reference.add_scaled`."""
    _kernels().add_scaled(y, x, y.dtype.type(factor))


def shrink(theta: Array, learning_rate: Scalar, decay: float) -> None:
    """See `reference.shrink`."""
    _kernels().scale(theta, theta.dtype.type(1 - learning_rate * decay))


def clip_norm(x: Array, largest: float) -> None:
    """See `reference.clip_norm`."""
    _kernels().clip_norm(x, largest)


def momentum(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
    """See `reference.momentum`."""
    real = theta.dtype.type
    _kernels().momentum(theta, gradient, velocity, real(learning_rate), real(mu))


def nesterov(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
    """See `reference.nesterov`."""
    real = theta.dtype.type
    _kernels().nesterov(theta, gradient, velocity, real(learning_rate), real(mu))


def adam(
    theta: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: Scalar,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: Scalar,
) -> None:
    """See `reference.adam`."""
    _kernels().adam(theta, gradient, m, v, learning_rate, beta1, beta2, epsilon, step)


def normal_rows(out: Array, seed: int, stream: int, steps: Array) -> None:
    """See `reference.normal_rows`."""
    _kernels().normal_rows(out, np.uint64(seed), np.uint64(stream), steps)


def add_noise(x: Array, noise: Array, sigma: float, out: Array) -> None:
    """See `reference.add_noise`."""
    _kernels().add_noise(x, noise, x.dtype.type(sigma), out)
