"""The specification of one training run: the language that the study files, the engine and the cache share.

A run *is* its specification. `RunSpec` is frozen and validated; its canonical JSON is hashed, and the hash names
the folder of its results. What does not change the outcome (device, threads, paths) is not in here; what belongs to
studies (names, figures, claims) is in `mlpaper.study.schema`.
"""

from __future__ import annotations

import fractions
import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

_DATASET = r"^[a-z][a-z0-9_]{0,39}$"


def _plain_name(name: str) -> str:
    if not re.fullmatch(_DATASET.strip("^$"), name):
        like = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f" (did you mean `{like}`?)" if re.fullmatch(_DATASET.strip("^$"), like) else ""
        raise ValueError(f"must be a-z, 0-9 and _, no more than 40 and first a letter{hint}")
    if name == "raw":
        raise ValueError("must not be `raw`: data/raw/ holds what is fetched")
    return name


DatasetName = Annotated[str, AfterValidator(_plain_name), Field(json_schema_extra={"pattern": _DATASET})]
"""Name of a file in `workflow/datasets/`. That there is one is checked where the plan is made."""
Part = Literal["train", "test"]

# Strict: "64" is not a number, 1.0 is not a whole number, 1 is not a truth value. A whole number is a real number.
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
Positive = Annotated[Whole, Field(ge=1)]
NonNegative = Annotated[Whole, Field(ge=0)]
PositiveReal = Annotated[Real, Field(gt=0)]
NonNegativeReal = Annotated[Real, Field(ge=0)]
Fraction = Annotated[Real, Field(gt=0, lt=1)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Factor = Annotated[Real, Field(gt=0, le=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
PARTS: tuple[Part, ...] = ("train", "test")


class Model(BaseModel):
    """Base of every specification: immutable, and an unknown key is an error at every level."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class PoolSpec(Model):
    """The images that a run draws from: a dataset, or some of its official parts."""

    name: DatasetName
    parts: tuple[Part, ...] = PARTS
    """Official parts that form the pool, in this order: those of them that the dataset has."""

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
    withhold_per_class: NonNegative = 0
    """Images per class taken out before splitting, and used nowhere."""
    seed: Seed = 0

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
    seed: Seed = 0


SplitSpec = Annotated[PoolSplit | OfficialSplit, Field(discriminator="scheme")]


class InputSpec(Model):
    """Pixels are divided by 255, then standardised: (x - mean) / std."""

    mean: Real = 0.0
    std: PositiveReal = 1.0


Activation = Literal["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"]
Initializer = Literal["he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "pytorch"]


class UniformInitializer(Model):
    """Uniform on (-bound, bound), for the weights and, where asked, for the biases."""

    name: Literal["uniform"] = "uniform"
    bound: PositiveReal = 0.5
    biases: Flag = False


def widths(value: Any) -> Any:
    """Widths of hidden layers; `30 x 32` stands for thirty layers of 32. Anything else is left to the validation.

    >>> widths("3 x 32"), widths([128, 64])
    ([32, 32, 32], [128, 64])
    """
    if isinstance(value, str) and (found := re.fullmatch(r"([1-9]\d{0,3}) x ([1-9]\d*)", value)):
        return [int(found[2])] * int(found[1])
    return value


class NetworkSpec(Model):
    """A multilayer perceptron from the pixels to the logits of the classes.

    A hidden layer is dense -> batch norm -> activation -> dropout, each of them where asked.
    """

    hidden: Annotated[tuple[Positive, ...], BeforeValidator(widths)] = (128, 64)
    """Widths of the hidden layers, or `30 x 32` for thirty layers of 32; empty for a linear classifier."""
    activation: Activation = "relu"
    initializer: Initializer | UniformInitializer = "he_normal"
    batch_norm: Flag = False
    dropout: Share = 0.0
    """Probability that a hidden unit is set to zero in training; the others are divided by 1 - dropout."""
    residual: NonNegative = 0
    """Layers per residual block x <- activation(f(x) + x), after the first hidden layer; 0 for a plain network."""

    @model_validator(mode="after")
    def _blocks_fit(self) -> NetworkSpec:
        if self.residual:
            if len(set(self.hidden)) > 1:
                raise ValueError("a residual network needs hidden layers of one width")
            if not self.hidden or (len(self.hidden) - 1) % self.residual:
                raise ValueError(f"the hidden layers after the first must be whole blocks of {self.residual}")
        return self


class CrossEntropySpec(Model):
    """Cross-entropy from logits, in nats."""

    name: Literal["cross_entropy"] = "cross_entropy"
    reduction: Literal["mean", "sum"] = "mean"
    """Reduction of the *gradient* over a batch. Reported losses are always plain means."""
    label_smoothing: Share = 0.0
    """Share of a label's weight that is spread over all classes."""
    class_weights: Literal["balanced"] | tuple[NonNegativeReal, ...] | None = None
    """A weight per class; `balanced` is N / (K n_c) over the training images."""

    @model_validator(mode="after")
    def _a_weight_counts(self) -> CrossEntropySpec:
        if isinstance(self.class_weights, tuple) and not any(self.class_weights):
            raise ValueError("class_weights needs a weight above 0: without one nothing is learned")
        return self


class SquaredErrorSpec(Model):
    """Mean squared error of the raw outputs against the one-hot label, a mean over the classes."""

    name: Literal["squared_error"] = "squared_error"
    reduction: Literal["mean", "sum"] = "mean"


class AbsoluteErrorSpec(Model):
    """Mean absolute error of the raw outputs against the one-hot label, a mean over the classes."""

    name: Literal["absolute_error"] = "absolute_error"
    reduction: Literal["mean", "sum"] = "mean"


LossSpec = Annotated[CrossEntropySpec | SquaredErrorSpec | AbsoluteErrorSpec, Field(discriminator="name")]


class SGD(Model):
    """Gradient descent: v <- momentum v + g, theta <- theta - learning_rate v.

    Nesterov's: theta <- theta - learning_rate (g + momentum v).
    """

    name: Literal["sgd"] = "sgd"
    learning_rate: PositiveReal = 1e-3
    momentum: Share = 0.0
    nesterov: Flag = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Model):
    """Adam (Kingma and Ba, 2015) with bias correction. With `decay.decoupled` it is AdamW."""

    name: Literal["adam"] = "adam"
    learning_rate: PositiveReal = 1e-3
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: PositiveReal = 1e-8


OptimizerSpec = Annotated[SGD | Adam, Field(discriminator="name")]


class DecaySpec(Model):
    """Weight decay."""

    l2: NonNegativeReal = 0.0
    """lambda of (lambda / 2) sum ||W||^2: lambda W is added to the gradient."""
    decoupled: NonNegativeReal = 0.0
    """theta <- theta - learning_rate decoupled theta before the update (Loshchilov and Hutter, 2019)."""
    parameters: Literal["weights", "all"] = "weights"
    """What decays: the weights of the dense layers, or biases and batch norm as well."""


class Schedule(Model):
    """Base of the schedules: t counts epochs or updates from 0, and the first `warmup` of them ramp up linearly."""

    per: Literal["epoch", "step"] = "epoch"
    warmup: NonNegative = 0
    """While t < warmup the rate is (t + 1) / (warmup + 1) of the schedule's start, which then begins."""


class ConstantSchedule(Schedule):
    """The optimiser's learning rate, unchanged."""

    name: Literal["constant"] = "constant"


class LinearSchedule(Schedule):
    """max(minimum, learning_rate - alpha t)."""

    name: Literal["linear"] = "linear"
    alpha: PositiveReal
    """Decrease per epoch or update."""
    minimum: NonNegativeReal = 0.0


class StepSchedule(Schedule):
    """learning_rate gamma^floor(t / every)."""

    name: Literal["step"] = "step"
    every: Positive
    gamma: Factor


class ExponentialSchedule(Schedule):
    """learning_rate gamma^t."""

    name: Literal["exponential"] = "exponential"
    gamma: Factor


class CosineSchedule(Schedule):
    """minimum + (learning_rate - minimum) (1 + cos(pi t / T)) / 2, over the T epochs or updates of the run."""

    name: Literal["cosine"] = "cosine"
    minimum: NonNegativeReal = 0.0


ScheduleSpec = Annotated[
    ConstantSchedule | LinearSchedule | StepSchedule | ExponentialSchedule | CosineSchedule,
    Field(discriminator="name"),
]


class AugmentationSpec(Model):
    """Random deformations of every training image, drawn anew each epoch; pixels from outside are 0."""

    shift: NonNegative = 0
    """Largest shift, in whole pixels, along each axis."""
    rotation: NonNegativeReal = 0.0
    """Largest rotation about the centre, in degrees, with bilinear interpolation."""

    @property
    def any(self) -> bool:
        """Whether images are deformed at all."""
        return bool(self.shift or self.rotation)


class StoppingSpec(Model):
    """Stop when the monitored value has not improved by more than `min_delta` for `patience` epochs."""

    monitor: Literal["validation_loss", "validation_accuracy"] = "validation_loss"
    patience: Positive
    min_delta: NonNegativeReal = 0.0
    restore_best: Flag = False
    """Keep the weights of the best epoch instead of the last."""


class RunSpec(Model):
    """Everything that determines the outcome of one training run."""

    dataset: PoolSpec
    split: SplitSpec = PoolSplit()
    input: InputSpec = InputSpec()
    augmentation: AugmentationSpec = AugmentationSpec()
    network: NetworkSpec = NetworkSpec()
    loss: LossSpec = CrossEntropySpec()
    optimizer: OptimizerSpec = Adam()
    schedule: ScheduleSpec = ConstantSchedule()
    decay: DecaySpec = DecaySpec()
    clip_norm: PositiveReal | None = None
    """Gradients with a larger L2 norm, over all parameters, are scaled down to it."""
    batch_size: Positive | Literal["full"] = 512
    epochs: Positive = 50
    updates: Positive | None = None
    """Stop after this many updates, even within an epoch."""
    early_stopping: StoppingSpec | None = None
    record_steps: Flag = False
    """Keep loss and learning rate of every update."""
    seed: Seed = 0
    """Seeds initialisation, shuffling, dropout and augmentation; the split has its own seed."""
    engine: Literal["mlpaper", "torch"] = "mlpaper"

    @model_validator(mode="after")
    def _schedules_fall(self) -> RunSpec:
        minimum, start = getattr(self.schedule, "minimum", 0.0), self.optimizer.learning_rate
        if minimum > start:
            raise ValueError(f"schedule.minimum {minimum:g} is above optimizer.learning_rate {start:g}")
        return self

    @model_validator(mode="after")
    def _batch_norm_has_a_batch(self) -> RunSpec:
        if self.network.batch_norm and self.batch_size == 1:
            raise ValueError(
                "network.batch_norm with a batch_size of 1 learns nothing: an image minus its own mean is 0. "
                "Use batches of 2 images or more, or no batch norm"
            )
        return self

    def canonical(self) -> str:
        """The one JSON text of this specification: what differs from the defaults, sorted keys, no spaces.

        Leaving the defaults out keeps a run's name when the language grows a field.
        """
        return json.dumps(_essential(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def batch_of(self, count: int) -> int:
        """Images per update when training on `count` images."""
        return count if self.batch_size == "full" else min(self.batch_size, count)

    @property
    def id(self) -> str:
        """Name of the run's folder: a readable slug and the first 8 digits of the hash."""
        shape = _shape(self.network.hidden)
        return f"{self.dataset.id}-{shape}-{self.optimizer.name}-s{self.seed}-{hash8(self.canonical())}"

    @property
    def split_id(self) -> str:
        """Name of the split's file, without its ending."""
        return f"split-{hash8(canonical_json(self.split))}"


def _shape(hidden: tuple[int, ...]) -> str:
    """Widths in a folder's name: `400x240x120`; many equal ones as `10x32` layers, none as `linear`."""
    if len(hidden) > 4:
        return f"{len(hidden)}x{hidden[0]}" if len(set(hidden)) == 1 else f"{len(hidden)}layers"
    return "x".join(map(str, hidden)) or "linear"


def _essential(model: BaseModel) -> dict[str, Any]:
    """Fields whose values are not the defaults; the tag of a union is always there."""
    kept: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name in ("name", "scheme"):
            kept[name] = value
        elif field.is_required() or value != field.default:
            kept[name] = _essential(value) if isinstance(value, BaseModel) else value
    return kept


def canonical_json(model: BaseModel) -> str:
    """The canonical JSON of a model: all fields, sorted keys, no spaces, floats by their shortest repr."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def share(fraction: float, count: int) -> int:
    """Floor of the decimal ``fraction`` as it was written, times ``count``, exactly.

    >>> share(0.7, 10), int(0.29 * 100), share(0.29, 100)
    (7, 28, 29)
    """
    return int(fractions.Fraction(str(fraction)) * count)


def hash8(text: str) -> str:
    """First 8 hexadecimal digits of the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
