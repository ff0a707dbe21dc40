"""The specification of one training run: the language that the study files, the engine and the cache share.

A run *is* its specification. `RunSpec` is frozen and validated; its canonical JSON is hashed, and the hash names
the folder of its results. What does not change the outcome (device, threads, paths) is not in here; what belongs to
studies (names, figures, claims) is in `mlpaper.study.schema`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DatasetName = Literal["mnist", "fashion_mnist", "emnist_bymerge", "emnist_balanced", "digits"]
Part = Literal["train", "test"]
Positive = Annotated[int, Field(ge=1)]
PositiveReal = Annotated[float, Field(gt=0)]
NonNegativeReal = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
PARTS: tuple[Part, ...] = ("train", "test")


class Model(BaseModel):
    """Base of every specification: immutable, and an unknown key is an error at every level."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class PoolSpec(Model):
    """The images that a run draws from: a dataset, or some of its official parts."""

    name: DatasetName
    parts: tuple[Part, ...] = PARTS
    """Official parts that form the pool, in this order."""

    @model_validator(mode="after")
    def _parts_are_distinct(self) -> PoolSpec:
        if not self.parts or list(self.parts) != [part for part in PARTS if part in self.parts]:
            raise ValueError("parts must be [train, test], [train] or [test]")
        return self

    @property
    def id(self) -> str:
        """Folder name: `emnist_bymerge`, or `emnist_bymerge.test` for one part alone."""
        return self.name if self.parts == PARTS else ".".join((self.name, *self.parts))


class PoolSplit(Model):
    """Split the whole pool per class: floor(train n), floor(validation n), and the rest for the test."""

    scheme: Literal["pool"] = "pool"
    train: Fraction = 0.7
    validation: Fraction = 0.1
    withhold_per_class: Annotated[int, Field(ge=0)] = 0
    """Images per class taken out before splitting, and used nowhere."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _test_is_not_empty(self) -> PoolSplit:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation must be below 1: the rest is the test set")
        return self


class OfficialSplit(Model):
    """Keep the official test part; hold out `validation` of the official training part, per class."""

    scheme: Literal["official"] = "official"
    validation: Fraction | Positive = 0.1
    """A fraction of the training part, or a number of images."""
    subset: Positive | None = None
    """Use only this many images of the training part, drawn per class."""
    seed: Annotated[int, Field(ge=0)] = 0


SplitSpec = Annotated[PoolSplit | OfficialSplit, Field(discriminator="scheme")]


class InputSpec(Model):
    """Pixels are divided by 255, then standardised: (x - mean) / std."""

    mean: float = 0.0
    std: PositiveReal = 1.0


class NetworkSpec(Model):
    """A multilayer perceptron from the pixels to the logits of the classes."""

    hidden: tuple[Positive, ...] = (128, 64)
    """Widths of the hidden layers; empty for a linear classifier."""
    activation: Literal["relu"] = "relu"
    initializer: Literal["he_normal"] = "he_normal"


class LossSpec(Model):
    """Cross-entropy from logits, in nats."""

    name: Literal["cross_entropy"] = "cross_entropy"
    reduction: Literal["mean", "sum"] = "mean"
    """Reduction of the *gradient* over a batch. Reported losses are always means."""


class SGD(Model):
    """Gradient descent, v <- momentum v + g, theta <- theta - learning_rate v."""

    name: Literal["sgd"] = "sgd"
    learning_rate: PositiveReal = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Adam(Model):
    """Adam (Kingma and Ba, 2015) with bias correction."""

    name: Literal["adam"] = "adam"
    learning_rate: PositiveReal = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: PositiveReal = 1e-8


OptimizerSpec = Annotated[SGD | Adam, Field(discriminator="name")]


class ConstantSchedule(Model):
    """The optimiser's learning rate, unchanged."""

    name: Literal["constant"] = "constant"


class LinearSchedule(Model):
    """max(minimum, learning_rate - alpha epoch), epochs counted from 0."""

    name: Literal["linear"] = "linear"
    alpha: PositiveReal
    """Decrease per epoch."""
    minimum: NonNegativeReal = 0.0


class ExponentialSchedule(Model):
    """learning_rate gamma^epoch, epochs counted from 0."""

    name: Literal["exponential"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)]


ScheduleSpec = Annotated[ConstantSchedule | LinearSchedule | ExponentialSchedule, Field(discriminator="name")]


class StoppingSpec(Model):
    """Stop when the monitored value has not improved by more than `min_delta` for `patience` epochs."""

    monitor: Literal["validation_loss", "validation_accuracy"] = "validation_loss"
    patience: Positive
    min_delta: NonNegativeReal = 0.0
    restore_best: bool = False
    """Keep the weights of the best epoch instead of the last."""


class RunSpec(Model):
    """Everything that determines the outcome of one training run."""

    dataset: PoolSpec
    split: SplitSpec = PoolSplit()
    input: InputSpec = InputSpec()
    network: NetworkSpec = NetworkSpec()
    loss: LossSpec = LossSpec()
    optimizer: OptimizerSpec = Adam()
    schedule: ScheduleSpec = ConstantSchedule()
    l2: NonNegativeReal = 0.0
    """lambda of (lambda / 2) sum ||W||^2, added to the gradient of the weights (not the biases) as lambda W."""
    batch_size: Positive = 512
    epochs: Positive = 50
    early_stopping: StoppingSpec | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds initialisation and shuffling; the split has its own seed."""
    engine: Literal["mlpaper"] = "mlpaper"

    def canonical(self) -> str:
        """The one JSON text of this specification: all fields, sorted keys, no spaces."""
        return canonical_json(self)

    @property
    def id(self) -> str:
        """Name of the run's folder: a readable slug and the first 8 digits of the hash."""
        shape = "x".join(map(str, self.network.hidden)) or "linear"
        return f"{self.dataset.id}-{shape}-{self.optimizer.name}-s{self.seed}-{hash8(self.canonical())}"

    @property
    def split_id(self) -> str:
        """Name of the split's file, without its ending."""
        return f"split-{hash8(canonical_json(self.split))}"


def canonical_json(model: BaseModel) -> str:
    """The canonical JSON of a model: all fields, sorted keys, no spaces, floats by their shortest repr."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash8(text: str) -> str:
    """First 8 hexadecimal digits of the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
