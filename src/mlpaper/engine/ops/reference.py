"""The operations as the paper writes them, in plain array code.

Everything is written with NumPy's functions and operators on whatever arrays come in; CuPy's arrays answer the same
calls through NumPy's dispatch protocols, so `Ops` is also the reference on the GPU. The activations are in
`activations`.

Shapes: N samples in a batch, D inputs and H outputs of a layer, K classes, P parameters. `dy` is dL/dy.
"""

from __future__ import annotations

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.ops.activations import ACTIVATIONS

PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


class Ops:
    """The readable operations. Faster ones override them with the same signatures: `cpu.CpuOps`, `gpu.GpuOps`.

    They write into arrays that the caller owns.
    """

    def gather(self, images: Array, index: Array, table: Array, out: Array) -> None:
        """Rows of the data as network inputs, ``out[i, j] = table[images[index[i], j]]``.

        The table of 256 values holds the scaling of a pixel, so that reading, scaling and converting are one pass.

        Shape: images uint8 (M, D), index int64 (N,), table (256,), out (N, D).
        """
        out[...] = table[images[index]]

    def deform(
        self, x: Array, side: int, down: Array, right: Array, angle: Array, background: float, out: Array
    ) -> None:
        """Images rotated about their centre by `angle`, then shifted by whole pixels, with bilinear interpolation.

        Every pixel of `out` is read from where it came from; places outside the image have the value `background`.

        Shape: x and out (N, side^2); down and right int64 (N,), angle float64 (N,) in radians, counter-clockwise.
        """
        centre = (side - 1) / 2
        rows, columns = (np.arange(side, like=out) - centre for _ in range(2))
        y = rows[None, :, None] - down[:, None, None]
        z = columns[None, None, :] - right[:, None, None]
        cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        source_y, source_z = cosine * y + sine * z + centre, cosine * z - sine * y + centre
        top, left = np.floor(source_y), np.floor(source_z)
        images = x.reshape(len(x), side, side)
        number = np.arange(len(x), like=down)[:, None, None]
        total = np.zeros(source_y.shape, like=source_y)
        for i in (0, 1):
            for j in (0, 1):
                r, c = (top + i).astype(np.int64), (left + j).astype(np.int64)
                inside = (r >= 0) & (r < side) & (c >= 0) & (c < side)
                value = np.where(inside, images[number, np.clip(r, 0, side - 1), np.clip(c, 0, side - 1)], background)
                total += (1 - np.abs(source_y - r)) * (1 - np.abs(source_z - c)) * value
        out[...] = total.reshape(out.shape)

    def linear(self, x: Array, w: Array, b: Array, y: Array) -> None:
        """``y = x w + b``. Shape: x (N, D), w (D, H), b (H,), y (N, H)."""
        np.matmul(x, w, out=y)
        y += b

    def linear_backward(self, x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
        """``dw = x^T dy``, ``db = sum_n dy_n``, ``dx = dy w^T``; `dx` is None in the first layer."""
        np.matmul(x.T, dy, out=dw)
        np.sum(dy, axis=0, out=db)
        if dx is not None:
            np.matmul(dy, w.T, out=dx)

    def activate(self, name: str, x: Array, y: Array) -> None:
        """``y = f(x)`` with the activation f of this name in `activations.ACTIVATIONS`; `y` may be `x`."""
        y[...] = ACTIVATIONS[name].value(x)

    def activate_backward(self, name: str, kept: Array, dy: Array, dx: Array) -> None:
        """``dx = dy f'``, from what the activation keeps: its output or its input. `dx` may be `dy`."""
        np.multiply(dy, ACTIVATIONS[name].slope(kept), out=dx)

    def affine(self, x: Array, w: Array, b: Array, skip: Array | None, activation: str, z: Array, y: Array) -> None:
        """``z = x w + b + skip``, ``y = f(z)``: a layer with its activation f. `y` may be `z`.

        Without an activation (an empty name) `y` is `z`. Shape: as in `linear`; z and y (N, H); skip (N, H), the input
        of a residual block, or None.
        """
        self.linear(x, w, b, z)
        if skip is not None:
            z += skip
        if activation:
            self.activate(activation, z, y)

    def affine_backward(
        self, x: Array, w: Array, kept: Array, activation: str, dy: Array, dw: Array, db: Array, dx: Array | None
    ) -> None:
        """``dy <- dy f'`` in place, from what the activation keeps; then as `linear_backward`.

        What `dy` becomes is dL/dz, and so dL/dskip too.
        """
        if activation:
            self.activate_backward(activation, kept, dy, dy)
        self.linear_backward(x, w, dy, dw, db, dx)

    def normalise(self, x: Array, mean: Array, variance: Array, epsilon: float, normal: Array) -> None:
        """``normal = (x - mean) / sqrt(variance + epsilon)``, per column. Shape: x and normal (N, H), the rest (H,)."""
        np.subtract(x, mean, out=normal)
        normal /= np.sqrt(variance + epsilon)

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array
    ) -> None:
        """Normalise every column over the batch (Ioffe and Szegedy 2015): ``y = gamma (x - mean) / std + beta``.

        Shape: x, normal and y (N, H); gamma and beta (H,). `statistics` (2, H) receives the batch's mean and its biased
        variance (divided by N), which is what the normalisation uses. `normal` keeps (x - mean) / std for the way back.
        """
        np.mean(x, axis=0, out=statistics[0])
        np.subtract(x, statistics[0], out=normal)
        np.mean(normal * normal, axis=0, out=statistics[1])
        normal /= np.sqrt(statistics[1] + epsilon)
        np.multiply(normal, gamma, out=y)
        y += beta

    def follow(self, running: Array, statistics: Array, count: int, share: float) -> None:
        """Running statistics go a `share` of the way to those of a batch of `count`: ``r <- (1 - share) r + share s``.

        Shape: both (2, H), means and variances. The variance that is followed is the unbiased one (divided by N - 1).
        """
        running *= 1 - share
        running[0] += share * statistics[0]
        running[1] += share * count / max(count - 1, 1) * statistics[1]

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
        """``dbeta = sum dy``, ``dgamma = sum dy n``, ``dx = gamma / std (dy - mean(dy) - n mean(dy n))``.

        The means over the batch are there because the batch's own mean and variance depend on x.
        """
        np.sum(dy, axis=0, out=dbeta)
        np.sum(dy * normal, axis=0, out=dgamma)
        count = len(dy)
        np.subtract(dy, dbeta / count, out=dx)
        dx -= normal * (dgamma / count)
        dx *= gamma / np.sqrt(variance + epsilon)

    def dropout(self, x: Array, probability: float, seed: int, stream: int, step: Array, mask: Array, y: Array) -> None:
        """``mask = 0`` with `probability`, else ``1 / (1 - probability)``; ``y = x mask``; `y` may be `x`.

        A unit is dropped where its 32 random bits are below probability 2^32: word j of row n, each row taking a
        multiple of four words (`random_words`). Shape: x, mask and y (N, H); step uint64 (1,), the number of the
        update.
        """
        count, width = x.shape
        words = np.empty((count, -(-width // 4) * 4), dtype=np.uint32, like=x)
        self.random_words(words.reshape(1, -1), seed, stream, step)
        kept = words[:, :width] >= int(probability * 2**32)
        np.multiply(kept, x.dtype.type(1 / (1 - probability)), out=mask)
        np.multiply(x, mask, out=y)

    def cross_entropy(self, logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
        """Softmax with cross-entropy, from logits: gradient, and running totals of what is reported.

        With p = softmax(z) computed after subtracting the row's maximum, the loss of a sample is
        ``-log p[label] = log(sum_k exp(z_k)) - z[label]`` and its gradient is ``p - onehot(label)``.

        Shape: logits and dlogits (N, K), which may be one array; labels int64 (N,). `scale` multiplies the gradient:
        1 / N for the mean over the batch, 1 for the sum. `totals` float64 (3,) is added to: the sum of the losses in
        nats, the number of samples whose largest logit (the first, in a tie) is the label's, and 1 while the running
        sum is finite.
        """
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        losses = np.log(sums) - np.take_along_axis(shifted, labels[:, None], axis=1)
        correct = logits.argmax(axis=1) == labels
        np.divide(exponentials, sums, out=dlogits)
        dlogits -= _onehot(labels, dlogits)
        dlogits *= scale
        _add_totals(losses[:, 0], correct, totals)

    def weighted_cross_entropy(
        self, logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
    ) -> None:
        """Cross-entropy against a row of weights per label instead of a one-hot label.

        The objective of a sample is ``-sum_k t_k log p_k`` with t the row ``targets[label]`` and its gradient
        ``(sum_k t_k) p - t``. `totals` counts as in `cross_entropy`: plain losses, without weights and smoothing.
        """
        self.cross_entropy(logits, labels, 1.0, dlogits, totals)
        dlogits += _onehot(labels, dlogits)
        chosen = targets[labels]
        dlogits *= chosen.sum(axis=1, keepdims=True)
        dlogits -= chosen
        dlogits *= scale

    def average_by_weight(self, dlogits: Array, labels: Array, weights: Array) -> None:
        """``dlogits <- dlogits / sum_n weights[labels[n]]``. Shape: dlogits (N, K), labels int64 (N,), weights (K,)."""
        dlogits /= weights[labels].sum()

    def squared_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """``l = mean_k (z_k - y_k)^2`` with y one-hot; gradient ``2 (z - y) / K``, times `scale`.

        `totals` as in `cross_entropy`.
        """
        correct = outputs.argmax(axis=1) == labels
        np.subtract(outputs, _onehot(labels, outputs), out=doutputs)
        _add_totals((doutputs * doutputs).mean(axis=1), correct, totals)
        doutputs *= 2 * scale / outputs.shape[1]

    def absolute_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """``l = mean_k |z_k - y_k|`` with y one-hot; gradient ``sign(z - y) / K``, 0 at 0, times `scale`."""
        correct = outputs.argmax(axis=1) == labels
        np.subtract(outputs, _onehot(labels, outputs), out=doutputs)
        _add_totals(np.abs(doutputs).mean(axis=1), correct, totals)
        np.sign(doutputs, out=doutputs)
        doutputs *= scale / outputs.shape[1]

    def log_softmax(self, logits: Array, out: Array) -> None:
        """``out[n, k] = log p[n, k]``, in nats, from logits. `out` may be `logits`."""
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=out)
        out -= np.log(np.exp(out).sum(axis=1, keepdims=True))

    def add_scaled(self, y: Array, x: Array, factor: float) -> None:
        """``y <- y + factor x``."""
        y += factor * x

    def shrink(self, theta: Array, learning_rate: Scalar, decay: float) -> None:
        """``theta <- (1 - learning_rate decay) theta``: weight decay apart from the gradient."""
        theta *= 1 - learning_rate * decay

    def clip_norm(self, x: Array, largest: float) -> None:
        """Scale `x` down so that its L2 norm is at most `largest` (to within 1e-6); a smaller one is left as it is."""
        norm = np.sqrt(np.sum(x * x, dtype=np.float64))
        x *= np.minimum(1.0, largest / (norm + 1e-6)).astype(x.dtype)

    def sgd(self, theta: Array, gradient: Array, learning_rate: Scalar) -> None:
        """``theta <- theta - learning_rate g``. Shape: all (P,)."""
        theta -= learning_rate * gradient

    def momentum(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """``v <- mu v + g``, ``theta <- theta - learning_rate v``: without dampening. Shape: all (P,)."""
        velocity *= mu
        velocity += gradient
        theta -= learning_rate * velocity

    def nesterov(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """``v <- mu v + g``, ``theta <- theta - learning_rate (g + mu v)``. Shape: all (P,)."""
        velocity *= mu
        velocity += gradient
        theta -= learning_rate * (gradient + mu * velocity)

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
        """Adam with bias correction (Kingma and Ba 2015, algorithm 1); `step` counts from 1. Shape: all (P,).

        ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``,
        ``theta <- theta - learning_rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)``
        """
        m *= beta1
        m += (1 - beta1) * gradient
        v *= beta2
        v += (1 - beta2) * gradient * gradient
        theta -= learning_rate * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon)

    def random_words(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """Fill each row r of `out` with the words of (seed, stream, steps[r]).

        Shape: out uint32 (R, W) with W a multiple of 4; steps uint64 (R,). Word 4 i + k of a row is word k of the block
        with counter (i, 0, step low, step high) and key (seed, stream).
        """
        blocks = out.shape[1] // 4
        first = np.arange(blocks, dtype=np.uint64, like=out)[None, :] + np.zeros_like(steps)[:, None]
        low, high = (steps & WORD)[:, None] + first * 0, (steps >> 32)[:, None] + first * 0
        words = philox((first, first * 0, low, high), (int(seed), int(stream)))
        for k, word in enumerate(words):
            out[:, k::4] = word

    def normal_rows(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """Fill each row r of `out` with standard normal numbers of (seed, stream, steps[r]), by Box and Muller.

        Words a, b of a pair give ``sqrt(-2 ln u) cos(2 pi w)`` and ``... sin(2 pi w)`` with u = (a + 1) / 2^32 in
        (0, 1] and w = b / 2^32, in float64 before rounding. Shape: out floating (R, D) with D a multiple of 4; steps
        uint64 (R,).
        """
        words = np.empty(out.shape, dtype=np.uint32, like=out)
        self.random_words(words, seed, stream, steps)
        radius = np.sqrt(-2.0 * np.log((words[:, 0::2] + 1.0) / 2.0**32))
        angle = words[:, 1::2] * (2.0 * np.pi / 2.0**32)
        out[:, 0::2] = radius * np.cos(angle)
        out[:, 1::2] = radius * np.sin(angle)

    def add_noise(self, x: Array, noise: Array, sigma: float, out: Array) -> None:
        """``out = clip(x + sigma noise, 0, 1)``. Shape: all (N, D)."""
        np.clip(x + sigma * noise, 0, 1, out=out)


def _onehot(labels: Array, like: Array) -> Array:
    """1 in the column of each row's label, else 0; of the shape and type of `like`, (N, K)."""
    return (labels[:, None] == np.arange(like.shape[1], like=labels)).astype(like.dtype)


def _add_totals(losses: Array, correct: Array, totals: Array) -> None:
    """Add the losses (N,) of a batch, and whether each prediction is right, to `totals`; see `cross_entropy`."""
    totals[0] += losses.sum(dtype=np.float64)
    totals[1] += correct.sum()
    totals[2] += np.isfinite(totals[0])


def philox(counter: tuple[Array, ...], key: tuple[int, int]) -> tuple[Array, ...]:
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit counter words to four random 32-bit words, held in uint64.

    The words are a function of counter and key alone, hence the same on every machine, device and batch size.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = (c0 * PHILOX_MULTIPLIERS[0]) >> 32, (c0 * PHILOX_MULTIPLIERS[0]) & WORD
        high1, low1 = (c2 * PHILOX_MULTIPLIERS[1]) >> 32, (c2 * PHILOX_MULTIPLIERS[1]) & WORD
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + PHILOX_WEYL[0]) & WORD, (k1 + PHILOX_WEYL[1]) & WORD
    return c0, c1, c2, c3
