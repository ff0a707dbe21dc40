"""Who is timed. Each contender is prepared once and then runs a number of updates: on one thread, or on a GPU.

All get what suits them: the engine gathers its batches from the stored bytes, the others from float32 arrays that are
ready in memory, the device's where there is one. A call ends when the device has done all its updates. The engine also
sums the loss and the correct predictions, which the others leave out.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mlpaper.spec import Adam, RunSpec

if TYPE_CHECKING:
    import jax

    Tree = dict[str, jax.Array]
    Carry = tuple[Tree, Tree, Tree, Tree, jax.Array, jax.Array]

Steps = Callable[[int], int]
"""Runs so many updates, or as many as come near, and returns how many were done when they are done."""

LEAST = 4096
"""Images that scikit-learn is given at least: all classes must be among them."""


class Absent(Exception):
    """A contender cannot run a row."""


def _batches(spec: RunSpec, count: int) -> Iterator[np.ndarray]:
    size, rng = count if spec.batch_size == "full" else min(spec.batch_size, count), np.random.default_rng(0)
    while True:
        order = rng.permutation(count)
        yield from (order[begin : begin + size] for begin in range(0, count - size + 1, size))


def engine(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int, device: str = "cpu") -> Steps:
    """This project's engine."""
    from mlpaper.engine import backend
    from mlpaper.engine.executor import Pool, executor_for

    made, index = backend.select(device), np.arange(len(images))
    executor = executor_for(spec, made, Pool(images, labels, classes), index)
    following, per_epoch = _batches(spec, len(images)), -(-len(images) // executor.batch_size)

    def steps(count: int) -> int:
        for begin in range(0, count, per_epoch):
            batches = [next(following) for _ in range(min(per_epoch, count - begin))]
            rates = np.full(len(batches), spec.optimizer.learning_rate)
            executor.train(made.to_device(np.concatenate(batches)), rates, begin, 0)
        return count

    return steps


def engine_on_gpu(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """The engine on the first device that is visible."""
    return engine(spec, images, labels, classes, "gpu")


def reference(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """The engine on its readable operations in plain NumPy."""
    return engine(spec, images, labels, classes, "reference")


def scikit_learn(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """scikit-learn's MLPClassifier: `fit` for one epoch over so many batches, its checks of the input included."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = spec.network
    if network.residual or network.batch_norm or network.dropout or network.activation != "relu":
        raise Absent("has no such layers")
    x, size = (images / 255).astype(np.float32), len(images) if spec.batch_size == "full" else spec.batch_size
    adam = isinstance(spec.optimizer, Adam)
    model = MLPClassifier(
        network.hidden, solver="adam" if adam else "sgd", alpha=0.0, batch_size=size, max_iter=1, momentum=0.0,
        learning_rate_init=spec.optimizer.learning_rate, warm_start=True,
    )  # fmt: skip

    def steps(count: int) -> int:
        batches = min(max(count, -(-LEAST // size)), len(x) // size)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model.fit(x[: batches * size], labels[: batches * size])
        return batches

    return steps


def _torch(
    spec: RunSpec,
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    fused: bool,
    compiled: bool | str,
    device: str = "cpu",
) -> Steps:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = spec.network
    activation = {"relu": nn.ReLU, "silu": nn.SiLU}[options.activation]

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.linear, self.activation = nn.Linear(width, width), activation()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.activation(self.linear(x) + x)

    layers: list[nn.Module] = []
    widths = (784, *options.hidden)
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        if options.residual and i > 0:
            layers.append(Block(outputs))
            continue
        layers.append(nn.Linear(inputs, outputs))
        layers += [nn.BatchNorm1d(outputs)] if options.batch_norm else []
        layers.append(activation())
        layers += [nn.Dropout(options.dropout)] if options.dropout else []
    model: nn.Module = nn.Sequential(*layers, nn.Linear(widths[-1], classes)).to(device)
    if isinstance(spec.optimizer, Adam):
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            model.parameters(), spec.optimizer.learning_rate, weight_decay=spec.decay.l2, fused=fused or None
        )
    else:
        optimizer = torch.optim.SGD(model.parameters(), spec.optimizer.learning_rate, fused=fused or None)
    loss_of = nn.CrossEntropyLoss()

    def objective(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_of(model(x), y)

    mode = compiled if isinstance(compiled, str) else None
    value = torch.compile(objective, mode=mode) if compiled else objective
    x_all = torch.from_numpy((images / 255).astype(np.float32)).to(device)
    y_all = torch.from_numpy(np.array(labels)).to(device)
    following = _batches(spec, len(images))

    def steps(count: int) -> int:
        order = torch.from_numpy(np.stack([next(following) for _ in range(count)])).to(device)
        for index in order:
            optimizer.zero_grad(set_to_none=True)
            # `x_all[index]` takes four times as long on a CPU: an update of M1b would take a quarter longer.
            value(x_all.index_select(0, index), y_all.index_select(0, index)).backward()
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        return count

    return steps


def pytorch(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """PyTorch, eager, with its default optimiser."""
    return _torch(spec, images, labels, classes, fused=False, compiled=False)


def pytorch_fused(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """PyTorch, eager, with its fused optimiser."""
    return _torch(spec, images, labels, classes, fused=True, compiled=False)


def torch_compile(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """PyTorch with torch.compile and its fused optimiser."""
    return _torch(spec, images, labels, classes, fused=True, compiled=True)


def pytorch_on_gpu(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """PyTorch on a GPU, eager, with its fused optimiser; the data lie on the device."""
    return _torch(spec, images, labels, classes, fused=True, compiled=False, device="cuda")


def torch_compile_on_gpu(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """PyTorch with torch.compile and CUDA graphs."""
    return _torch(spec, images, labels, classes, fused=True, compiled="reduce-overhead", device="cuda")


def jax_scan(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """JAX: all updates of a call in one compiled `lax.scan`, random numbers included.

    In single precision, as all the others: on a GPU its default is TF32, whose products have ten bits.
    """
    import jax
    import jax.numpy as jnp

    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", "highest")
    options, adam = spec.network, isinstance(spec.optimizer, Adam)
    act = {"relu": jax.nn.relu, "silu": jax.nn.silu}[options.activation]
    widths = (784, *options.hidden, classes)
    rng = np.random.default_rng(0)
    theta, running = {}, {}
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        theta[f"w{i}"] = jnp.asarray(rng.normal(0, np.sqrt(2 / a), (a, b)), jnp.float32)
        theta[f"b{i}"] = jnp.zeros(b)
        if options.batch_norm and i < len(options.hidden):
            theta[f"g{i}"], theta[f"s{i}"] = jnp.ones(b), jnp.zeros(b)
            running[f"m{i}"], running[f"v{i}"] = jnp.zeros(b), jnp.ones(b)

    def loss(theta: Tree, x: jax.Array, y: jax.Array, key: jax.Array) -> tuple[jax.Array, Tree]:
        moments = {}
        for i in range(len(options.hidden)):
            z = x @ theta[f"w{i}"] + theta[f"b{i}"]
            if options.batch_norm:
                moments[f"m{i}"], moments[f"v{i}"] = mean, var = z.mean(0), z.var(0)
                z = (z - mean) * jax.lax.rsqrt(var + 1e-5) * theta[f"g{i}"] + theta[f"s{i}"]
            x = act(z + x) if options.residual and i > 0 else act(z)
            if options.dropout:
                key, sub = jax.random.split(key)
                x = jnp.where(jax.random.bernoulli(sub, 1 - options.dropout, x.shape), x / (1 - options.dropout), 0)
        z = x @ theta[f"w{len(options.hidden)}"] + theta[f"b{len(options.hidden)}"]
        return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean(), moments

    rate, l2 = spec.optimizer.learning_rate, spec.decay.l2

    def update(carry: Carry, index: jax.Array) -> tuple[Carry, None]:
        theta, m, v, running, t, key = carry
        key, sub = jax.random.split(key) if options.dropout else (key, key)
        # Indices of a batch are in range and differ: JAX need not look.
        x, y = (it.at[index].get(mode="promise_in_bounds", unique_indices=True) for it in (x_all, y_all))
        g, moments = jax.grad(loss, has_aux=True)(theta, x, y, sub)
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, moments)
        if not adam:
            return (jax.tree.map(lambda p, d: p - rate * d, theta, g), m, v, running, t, key), None
        t = t + 1
        g = jax.tree.map(lambda d, p: d + l2 * p, g, theta) if l2 else g
        m = jax.tree.map(lambda a, d: 0.9 * a + 0.1 * d, m, g)
        v = jax.tree.map(lambda a, d: 0.999 * a + 0.001 * d * d, v, g)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        theta = jax.tree.map(lambda p, a, b: p - rate * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), theta, m, v)
        return (theta, m, v, running, t, key), None

    x_all, y_all = jnp.asarray((images / 255).astype(np.float32)), jnp.asarray(labels)
    m, v = (jax.tree.map(jnp.zeros_like, theta) if adam else {} for _ in range(2))
    scan = jax.jit(lambda carry, order: jax.lax.scan(update, carry, order)[0], donate_argnums=0)
    following = _batches(spec, len(images))
    state = {"carry": (theta, m, v, running, jnp.float32(0), jax.random.key(0))}

    def steps(count: int) -> int:
        order = jnp.asarray(np.stack([next(following) for _ in range(count)]))
        state["carry"] = jax.block_until_ready(scan(state["carry"], order))
        return count

    return steps


def jax_on_gpu(spec: RunSpec, images: np.ndarray, labels: np.ndarray, classes: int) -> Steps:
    """JAX on the GPU that it finds."""
    import jax

    if jax.default_backend() == "cpu":
        raise Absent("finds no GPU")
    return jax_scan(spec, images, labels, classes)


CONTENDERS = {
    "mlpaper": engine,
    "NumPy reference": reference,
    "scikit-learn": scikit_learn,
    "PyTorch": pytorch,
    "PyTorch, fused": pytorch_fused,
    "torch.compile": torch_compile,
    "JAX scan": jax_scan,
}
ON_GPU = {
    "mlpaper": engine_on_gpu,
    "PyTorch": pytorch_on_gpu,
    "torch.compile, CUDA graphs": torch_compile_on_gpu,
    "JAX scan": jax_on_gpu,
}
