"""Compiled versions of the hot operations.

Only what pays is here; everything else is that of `reference`. An operation takes arrays of any shape and plain
numbers, and hands them to its kernel, of the same name in `kernels`. Scalars are converted to the arrays' own type
before a kernel sees them, since float32 arrays times float64 scalars would be computed in float64.

The kernels need numba, which takes longer to load than many a run to train. So they are loaded on their first use: a
run of the compiled loop (`engine.program`) makes none.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.ops.reference import Ops


@cache
def _kernels() -> Any:
    from mlpaper.engine.ops import kernels

    return kernels


class CpuOps(Ops):
    """The operations on the CPU, for arrays of any float type."""

    def gather(self, images: Array, index: Array, table: Array, out: Array) -> None:
        """See `Ops.gather`."""
        _kernels().gather(images, index, table, out)

    def linear(self, x: Array, w: Array, b: Array, y: Array) -> None:
        """See `Ops.linear`."""
        np.matmul(x, w, out=y)
        _kernels().add_row(b, y)

    def linear_backward(self, x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
        """See `Ops.linear_backward`."""
        np.matmul(x.T, dy, out=dw)
        _kernels().sum_rows(dy, db)
        if dx is not None:
            np.matmul(dy, w.T, out=dx)

    def activate(self, name: str, x: Array, y: Array) -> None:
        """See `Ops.activate`."""
        kernel = getattr(_kernels(), name)
        if ACTIVATIONS[name].kept == "input":
            kernel(x.reshape(-1), y.reshape(-1))
            return
        if x is not y:
            np.copyto(y, x)
        kernel(y.reshape(-1))

    def activate_backward(self, name: str, kept: Array, dy: Array, dx: Array) -> None:
        """See `Ops.activate_backward`."""
        kernel = getattr(_kernels(), f"{name}_backward")
        if ACTIVATIONS[name].kept == "input":
            kernel(kept.reshape(-1), dy.reshape(-1), dx.reshape(-1))
            return
        if dy is not dx:
            np.copyto(dx, dy)
        kernel(kept.reshape(-1), dx.reshape(-1))

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array
    ) -> None:
        """See `Ops.batch_norm`."""
        mean, variance = statistics
        _kernels().batch_norm(x, gamma, beta, x.dtype.type(epsilon), normal, y, mean, variance, np.empty_like(gamma))

    def batch_norm_backward(
        self,
        normal: Array,
        variance: Array,
        gamma: Array,
        epsilon: float,
        dy: Array,
        dgamma: Array,
        dbeta: Array,
        dx: Array,
    ) -> None:
        """See `Ops.batch_norm_backward`."""
        factor = np.empty_like(gamma)
        _kernels().batch_norm_backward(normal, variance, gamma, dy.dtype.type(epsilon), dy, dgamma, dbeta, dx, factor)

    def cross_entropy(self, logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
        """See `Ops.cross_entropy`."""
        _kernels().cross_entropy(logits, labels, logits.dtype.type(scale), dlogits, totals)

    def weighted_cross_entropy(
        self, logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
    ) -> None:
        """See `Ops.weighted_cross_entropy`."""
        _kernels().weighted_cross_entropy(logits, labels, targets, logits.dtype.type(scale), dlogits, totals)

    def squared_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `Ops.squared_error`."""
        _kernels().squared_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)

    def absolute_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `Ops.absolute_error`."""
        _kernels().absolute_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)

    def add_scaled(self, y: Array, x: Array, factor: float) -> None:
        """See `Ops.add_scaled`."""
        _kernels().add_scaled(y, x, y.dtype.type(factor))

    def shrink(self, theta: Array, learning_rate: Scalar, decay: float) -> None:
        """See `Ops.shrink`."""
        _kernels().scale(theta, theta.dtype.type(1 - learning_rate * decay))

    def clip_norm(self, x: Array, largest: float) -> None:
        """See `Ops.clip_norm`."""
        _kernels().clip_norm(x, largest)

    def momentum(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `Ops.momentum`."""
        real = theta.dtype.type
        _kernels().momentum(theta, gradient, velocity, real(learning_rate), real(mu))

    def nesterov(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `Ops.nesterov`."""
        real = theta.dtype.type
        _kernels().nesterov(theta, gradient, velocity, real(learning_rate), real(mu))

    def adam(
        self,
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
        """See `Ops.adam`."""
        _kernels().adam(theta, gradient, m, v, learning_rate, beta1, beta2, epsilon, step)

    def normal_rows(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """See `Ops.normal_rows`."""
        _kernels().normal_rows(out, np.uint64(seed), np.uint64(stream), steps)

    def add_noise(self, x: Array, noise: Array, sigma: float, out: Array) -> None:
        """See `Ops.add_noise`."""
        _kernels().add_noise(x, noise, x.dtype.type(sigma), out)
