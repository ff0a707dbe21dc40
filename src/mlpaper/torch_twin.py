"""The referee: any run in PyTorch, from the same initial weights, on the same batches, with the same dropout masks.

Forward pass, automatic differentiation, losses and optimisers are PyTorch's; initialisation, batches, schedules and
early stopping are the engine's. PyTorch's tensors share the memory of the engine's flat vectors, so that weights are
saved, restored and resumed alike. The engine knows nothing of this module, and PyTorch is an optional extra.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import EVALUATION_ROWS, Executor, Pool, Predictions, Updates
from mlpaper.engine.model import named_views
from mlpaper.engine.network import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from mlpaper.engine.rng import Stream
from mlpaper.spec import SGD, Adam, CrossEntropySpec, RunSpec

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


class TorchExecutor(Executor):
    """An `Executor` whose network, loss and optimiser are PyTorch's."""

    def __init__(
        self, spec: RunSpec, backend: Backend, pool: Pool, train: np.ndarray, batch_size: int | None = None
    ) -> None:
        super().__init__(spec, backend, pool, train, batch_size)
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        views = named_views(self.model.parameters, self.network.layout)
        self.tensors = {name: torch.nn.Parameter(torch.from_numpy(view)) for name, view in views.items()}
        self.running_statistics = torch.from_numpy(self.model.statistics)
        self.twin_loss = _Loss(self)
        self.twin_optimizer = _Optimizer(self)

    def train(self, order: Array, rates: np.ndarray, done: int, epoch: int) -> Updates:
        """See `Executor.train`."""
        totals, losses = np.zeros(3), np.full(len(rates), np.nan)
        for number, rate in enumerate(rates.tolist()):
            first = number * self.batch_size
            index, step, before = order[first : first + self.batch_size], done + number + 1, totals[0]
            outputs = self.forward(torch.from_numpy(self.training_inputs(index, epoch, first)), step)
            targets = torch.from_numpy(self.pool.labels[index].astype(np.int64))
            self.twin_loss.count(outputs.detach(), targets, totals)
            self.twin_optimizer.step(self.twin_loss(outputs, targets), rate, step)
            losses[number] = (totals[0] - before) / len(index)
        return Updates(float(totals[0]), int(totals[1]), int(totals[2]), losses)

    @torch.no_grad()
    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """See `Executor.evaluate`."""
        totals = np.zeros(3)
        for begin in range(0, len(index), EVALUATION_ROWS):
            part = index[begin : begin + EVALUATION_ROWS]
            outputs = self.forward(torch.from_numpy(self.inputs(part)), None)
            self.twin_loss.count(outputs, torch.from_numpy(self.pool.labels[part].astype(np.int64)), totals)
        return float(totals[0]) / len(index), float(totals[1]) / len(index)

    @torch.no_grad()
    def predict(self, x: Array) -> Predictions:
        """See `Executor.predict`."""
        found = functional.log_softmax(self.forward(torch.from_numpy(x), None), dim=1)
        return Predictions(found.numpy(), found.max(dim=1).values.exp().numpy())

    def gradient(self, x: Array, labels: np.ndarray) -> np.ndarray:
        """See `Executor.gradient`."""
        self.twin_optimizer.optimizer.zero_grad()
        self.twin_loss(self.forward(torch.from_numpy(x), 1), torch.from_numpy(labels.astype(np.int64))).backward()
        return np.concatenate([tensor.grad.numpy().ravel() for tensor in self.tensors.values()]).astype(np.float64)

    def forward(self, x: torch.Tensor, step: int | None) -> torch.Tensor:
        """Outputs of a batch, shape (N, K); `step` is None outside training."""
        options, depth = self.spec.network, len(self.spec.network.hidden)
        activation = ACTIVATIONS[options.activation]
        block, kept = options.residual, x
        for i in range(depth):
            z = self._affine(x, i, step)
            ends_block = bool(block) and i > 0 and i % block == 0
            x = activation(z + kept if ends_block else z)
            if options.dropout and step is not None:
                x = x * self._mask(i, x.shape, step)
            if i == 0 or ends_block:
                kept = x
        return torch.addmm(self.tensors[f"{depth}.bias"], x, self.tensors[f"{depth}.weight"])

    def _affine(self, x: torch.Tensor, i: int, step: int | None) -> torch.Tensor:
        z = torch.addmm(self.tensors[f"{i}.bias"], x, self.tensors[f"{i}.weight"])
        if not self.spec.network.batch_norm:
            return z
        hidden = self.spec.network.hidden
        begin = sum(hidden[:i])
        mean, variance = (self.running_statistics[row, begin : begin + hidden[i]] for row in (0, 1))
        gamma, beta = self.tensors[f"{i}.gamma"], self.tensors[f"{i}.beta"]
        training = step is not None
        if training and len(z) == 1:  # the last batch of an epoch; PyTorch refuses it
            with torch.no_grad():
                self.running_statistics[:, begin : begin + hidden[i]] *= 1 - BATCH_NORM_MOMENTUM
                mean += BATCH_NORM_MOMENTUM * z[0]
            return (z - z.mean(dim=0)) * gamma + beta
        return functional.batch_norm(z, mean, variance, gamma, beta, training, BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON)

    def _mask(self, i: int, shape: torch.Size, step: int) -> torch.Tensor:
        """The engine's dropout mask of hidden layer i."""
        probability, (count, width) = self.spec.network.dropout, shape
        words = np.empty((count, -(-width // 4) * 4), dtype=np.uint32)
        stream = Stream.DROPOUT + Stream.OF_LAYER * i
        self.backend.ops.random_words(words.reshape(1, -1), self.spec.seed, stream, self.backend.counter(step))
        kept = words[:, :width] >= int(probability * 2**32)
        return torch.from_numpy(kept.astype(self.backend.dtype)) / (1 - probability)


class _Loss:
    """The loss that is differentiated, and the plain one that is reported."""

    def __init__(self, run: TorchExecutor) -> None:
        self.options = run.spec.loss
        weights = run.loss.weights
        self.weights = None if weights is None else torch.from_numpy(weights)

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        reduction = self.options.reduction
        if isinstance(self.options, CrossEntropySpec):
            smoothing = self.options.label_smoothing
            return functional.cross_entropy(
                outputs, targets, weight=self.weights, reduction=reduction, label_smoothing=smoothing
            )
        classes = outputs.shape[1]
        error = functional.mse_loss if self.options.name == "squared_error" else functional.l1_loss
        value = error(outputs, functional.one_hot(targets, classes).to(outputs.dtype), reduction=reduction)
        return value / classes if reduction == "sum" else value

    def count(self, outputs: torch.Tensor, targets: torch.Tensor, totals: Array) -> None:
        """Add to `totals` as `mlpaper.engine.losses.Loss.gradient` does."""
        classes = outputs.shape[1]
        onehot = functional.one_hot(targets, classes).to(outputs.dtype)
        if isinstance(self.options, CrossEntropySpec):
            loss = functional.cross_entropy(outputs, targets, reduction="sum")
        elif self.options.name == "squared_error":
            loss = functional.mse_loss(outputs, onehot, reduction="sum") / classes
        else:
            loss = functional.l1_loss(outputs, onehot, reduction="sum") / classes
        totals[0] += float(loss)
        totals[1] += int((outputs.argmax(dim=1) == targets).sum())
        totals[2] += np.isfinite(totals[0])


class _Optimizer:
    """PyTorch's optimiser, its state in the flat vectors of the engine's."""

    def __init__(self, run: TorchExecutor) -> None:
        self.run, spec = run, run.spec
        self.decay = spec.decay
        decaying = [
            tensor for name, tensor in run.tensors.items() if spec.decay.parameters == "all" or name.endswith("weight")
        ]
        chosen = {id(tensor) for tensor in decaying}
        others = [tensor for tensor in run.tensors.values() if id(tensor) not in chosen]
        self.decaying = decaying
        groups = [{"params": decaying, "weight_decay": spec.decay.l2}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = self._build([group for group in groups if group["params"]], spec.optimizer)

    def _build(self, groups: list[dict[str, Any]], options: SGD | Adam) -> torch.optim.Optimizer:
        rate, state = options.learning_rate, self.run.optimizer.state
        if isinstance(options, SGD):
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, rate, momentum=options.momentum, nesterov=options.nesterov
            )
            names = {"velocity": "momentum_buffer"}
        else:
            betas = (options.beta1, options.beta2)
            if self.decay.decoupled and not self.decay.l2:
                for group in groups:
                    group["weight_decay"] = self.decay.decoupled if group["params"] is self.decaying else 0.0
                optimizer = torch.optim.AdamW(groups, rate, betas, options.epsilon)
            else:
                optimizer = torch.optim.Adam(groups, rate, betas, options.epsilon)
            names = {"m": "exp_avg", "v": "exp_avg_sq"}
        for ours, theirs in names.items():
            if ours in state:
                views = named_views(state[ours], self.run.network.layout)
                for name, tensor in self.run.tensors.items():
                    optimizer.state[tensor][theirs] = torch.from_numpy(views[name])
        return optimizer

    def step(self, loss: torch.Tensor, rate: float, count: int) -> None:
        """One update; `count` is its number, from 1."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.run.spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.run.tensors.values(), self.run.spec.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.optimizer, torch.optim.Adam):  # AdamW is one
            for tensor in self.run.tensors.values():
                self.optimizer.state[tensor]["step"] = torch.tensor(float(count - 1))
        if self.decay.decoupled and not isinstance(self.optimizer, torch.optim.AdamW):
            with torch.no_grad():
                for tensor in self.decaying:
                    tensor.mul_(1 - rate * self.decay.decoupled)
        self.optimizer.step()
