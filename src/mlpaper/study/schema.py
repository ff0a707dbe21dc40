"""What may stand in `config.yaml`, in a study file and in a scale file. Only shapes: no loading, no expanding.

Everything forbids unknown keys at every level, so that `hiden: [5]` fails and suggests `hidden`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from mlpaper.errors import nearest
from mlpaper.spec import DatasetName, Model, NonNegativeReal, Part, Positive, PositiveReal, Seed

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
"""Lower-case words joined by hyphens: names of studies, figures and tables, used in file names."""

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$", max_length=60)]
"""A run as its study calls it, such as `M1a` or `M1a-as-coded`."""

PointName = Annotated[
    str, BeforeValidator(lambda key: str(key) if isinstance(key, int) else key), Field(pattern=r"^[A-Za-z0-9-]+$")
]
"""A point of a sweep; the sweep's name, a hyphen and this make the name of its run."""


METRICS = {
    "test_accuracy": "test accuracy",
    "macro_f1": "test macro-F1",
    "test_cross_entropy": "test cross-entropy",
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
    "epochs": "epochs",
    "seconds": "training time",
    "parameters": "parameters",
}
"""Metrics of a run by name, besides `noise_accuracy_<sigma>`; training and validation are of the last epoch."""

ALWAYS_KNOWN = frozenset({"epochs", "parameters", "seconds"})
"""Metrics that a diverged run has as well."""

FRACTIONS = re.compile(r"(accuracy|macro_f1)")
"""Metrics that are fractions and shown in per cent."""

NOISE_METRIC = re.compile(r"noise_accuracy_\d+\.\d")


def _metric(name: str) -> str:
    if name not in METRICS and not NOISE_METRIC.fullmatch(name):
        known = [*METRICS, "noise_accuracy_0.1"]
        raise ValueError(f"unknown metric{nearest(name, known)}; known are {', '.join(known)} and so on")
    return name


Metric = Annotated[str, AfterValidator(_metric)]


def _column(name: str) -> str:
    return name if name in SETTING_COLUMNS else _metric(name)


SETTING_COLUMNS = ("hidden", "optimizer", "outcome")
"""Columns of a table of runs that are no metrics."""

Column = Annotated[str, AfterValidator(_column)]


def _markdown(text: str) -> str:
    if found := re.search(r"<[A-Za-z/!?]|javascript:|\{=", text):
        raise ValueError(f"must be plain Markdown, without `{found[0]}`: it becomes part of a web page")
    return text


Prose = Annotated[str, AfterValidator(_markdown)]
"""Markdown without HTML or other raw markup."""


# --- config.yaml


class Settings(Model):
    """`config.yaml`: what a user changes. Flat, so that every key can be given after `--config`."""

    studies: tuple[str, ...] | Literal["all"] = "all"
    """Studies to reproduce: `all`, or a list of names of files in `workflow/studies/`."""
    seeds: tuple[Seed, ...] | Literal["auto"] = "auto"
    """Seeds that every run is repeated over; `auto` takes the scale's own."""
    scale: str = "paper"
    """Name of a file in `workflow/scales/`."""
    mirror: str | None = None
    """A folder or URL laid out `<dataset>/<file>`, tried before all other sources."""
    emnist_parts: tuple[Part, ...] = ("train", "test")
    """Official parts of EMNIST that form the pool."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    pdf: Literal["auto", "latex", "typst", "none"] = "auto"
    """How the PDF is made: `auto` takes LaTeX where it is installed, else Typst."""
    twin: Literal["auto", "always", "never"] = "auto"
    """Whether runs of the engine `torch` are made: `auto` makes them where PyTorch is installed."""
    heavy: Literal["first", "all", "none"] = "first"
    """Runs that their study marks as heavy: made with the first seed, with all of them, or left out."""

    @field_validator("seeds", "studies")
    @classmethod
    def _not_empty_and_distinct(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("must be a list of one or more distinct values")
        return value

    @field_validator("emnist_parts", mode="after")
    @classmethod
    def _known_order(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("must be [train, test], [test] or [train]")
        ordered: tuple[Part, ...] = ("train", "test")
        return tuple(part for part in ordered if part in value)


# --- workflow/scales/*.yaml


class Scale(Model):
    """What a scale changes in every run of every study."""

    description: str
    watermark: Annotated[str, Field(pattern=r"^[^\"<>&\\\\]*$")] | None = None
    """Plain text, printed over every figure, table and page of this scale."""
    seeds: tuple[Seed, ...]
    noise_seeds: Positive
    """Repetitions of every noise level."""
    dataset: DatasetName | None = None
    """Replaces every study's dataset."""
    epochs_divisor: Positive = 1
    """Epochs are divided by this (at least 2 remain)."""
    max_batch_size: Positive | None = None
    max_width: Positive | None = None
    withhold: bool = True
    """Whether studies' `withhold_per_class` is applied."""
    heavy: bool = True
    """Whether runs that a study marks as heavy are heavy at this scale."""


# --- figures and tables


class Item(Model):
    """A figure or a table: its name in the file system, and what stands under or above it."""

    name: Name
    title: Prose
    """A few words; the figure's heading in lists and reports."""
    caption: Prose
    """Full sentences. Markdown, without numbers that a run decides."""


class SamplesFigure(Item):
    """One image of every class."""

    kind: Literal["samples"]
    columns: Positive = 12


class ClassDistributionFigure(Item):
    """Images per class, in the order of the classes and sorted by size."""

    kind: Literal["class-distribution"]


class CurvesFigure(Item):
    """Training and validation metrics against the epoch; bands over seeds."""

    kind: Literal["curves"]
    runs: tuple[RunName, ...] = Field(min_length=1)
    metrics: tuple[Literal["loss", "accuracy"], ...] = ("loss", "accuracy")
    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")


class ConfusionFigure(Item):
    """Confusion matrix of one run over the test set, each row (true class) as shares of its class."""

    kind: Literal["confusion"]
    run: RunName


class NoiseFigure(Item):
    """Test accuracy against the standard deviation of the noise added to the images."""

    kind: Literal["noise"]
    runs: tuple[RunName, ...] = Field(min_length=1)


class GradientNormsFigure(Item):
    """L2 norm of the gradient of every weight matrix, at initialisation and after training, for every seed."""

    kind: Literal["gradient-norms"]
    runs: tuple[RunName, ...] = Field(min_length=1)


class MetricBarsFigure(Item):
    """One metric of several runs, every seed a dot, the published value beside it."""

    kind: Literal["metric-dots"]
    runs: tuple[RunName, ...] = Field(min_length=1)
    metric: Metric


FigureSpec = Annotated[
    SamplesFigure
    | ClassDistributionFigure
    | CurvesFigure
    | ConfusionFigure
    | NoiseFigure
    | GradientNormsFigure
    | MetricBarsFigure,
    Field(discriminator="kind"),
]


class SplitTable(Item):
    """Images, share, smallest and largest class of every part of the split."""

    kind: Literal["split"]


class RunsTable(Item):
    """One row per run, one column per metric: mean and 95 % interval over seeds, and the published value."""

    kind: Literal["runs"]
    runs: tuple[RunName, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)
    """Metrics, or `hidden`, `optimizer`, `outcome`."""
    baseline: RunName | None = None
    """Adds a column with the difference of the first metric to this run."""


class NoiseTable(Item):
    """Test accuracy of runs (rows) at every noise level (columns)."""

    kind: Literal["noise"]
    runs: tuple[RunName, ...] = Field(min_length=1)


class SettingsTable(Item):
    """What every run of the study was trained with."""

    kind: Literal["settings"]


class OpenChoicesTable(Item):
    """Choices that the source leaves open, the value taken and why."""

    kind: Literal["open-choices"]


class DifferencesTable(Item):
    """Where the source's text and its authors' code differ."""

    kind: Literal["differences"]


TableSpec = Annotated[
    SplitTable | RunsTable | NoiseTable | SettingsTable | OpenChoicesTable | DifferencesTable,
    Field(discriminator="kind"),
]


# --- workflow/studies/*.yaml


class Source(Model):
    """The published text that a study reproduces."""

    citation: str
    """Key in `report/references.bib`."""
    authors: Prose
    title: Prose
    year: int | None = None
    code: str | None = None
    """Where the authors' own code is published."""


class RunEntry(Model):
    """A run of a study: what it changes in the study's defaults, or in the run that it is `based_on`."""

    description: Prose
    based_on: RunName | None = None
    reproduces: RunName | None = None
    """The source's run that this one is compared with, where it has another name."""
    changes: dict[str, Any] = {}
    """Fields of `RunSpec`, nested as there; a mapping changes only the keys that it names."""
    noise: bool = False
    """Whether the run is tested under noise."""
    gradients: bool = False
    """Whether norms of its gradients are among its metrics."""
    heavy: Prose | None = None
    """Why this run is too heavy for many seeds, and whether it is made is for the configuration's `heavy` to say."""


class Sweep(Model):
    """Runs that differ in one field: the sweep `width` over 2 and 4 has the runs `width-2` and `width-4`."""

    label: Prose = ""
    """What varies, as the label of an axis. That of the other sweep where none is given."""
    description: Prose
    """Of every run; `{}` stands for the name of its point."""
    based_on: RunName | None = None
    """A run that all points start from, or another sweep: then the points are that sweep's, each based on its run."""
    changes: dict[str, Any] = {}
    """What all points change."""
    vary: str = ""
    """The field of `RunSpec` that varies, such as `network.hidden`."""
    points: dict[PointName, Any] = {}
    """Point to the value of that field, in the order of the axis."""
    logarithmic: bool = False
    """Whether the axis is logarithmic."""
    noise: bool = False
    gradients: bool = False
    heavy: dict[PointName, Prose] = {}
    """Points whose runs are heavy, and why."""

    def run(self, name: str, point: str) -> str:
        """Name of the run at a point of this sweep, which is called `name`."""
        return f"{name}-{point}"

    def position(self, point: str) -> float | None:
        """Where a point stands on a numerical axis: its value, or the number that is its name; None for neither."""
        value = self.points[point]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        try:
            return float(point)
        except ValueError:
            return None


class OpenChoice(Model):
    """A value that neither the source's text nor its code states."""

    what: Prose
    choice: Prose
    reason: Prose


class Difference(Model):
    """A point on which the source's text and its authors' code differ; both are run."""

    what: Prose
    text: Prose
    code: Prose
    runs: tuple[RunName, ...] = ()


class Noise(Model):
    """Gaussian noise added to the test images: x + N(0, sigma^2), clipped to [0, 1]."""

    sigmas: tuple[NonNegativeReal, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """Distinct multiples of 0.1, which name the metrics `noise_accuracy_<sigma>`."""

    @field_validator("sigmas")
    @classmethod
    def _tenths(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(sigma != round(sigma, 1) for sigma in value) or len(set(value)) != len(value) or not value:
            raise ValueError("must be distinct multiples of 0.1")
        return value


class Study(Model):
    """One study file."""

    name: Name
    title: Prose
    source: Source
    summary: Prose
    """One paragraph: what the study asks and how. Markdown."""
    defaults: dict[str, Any]
    """The `RunSpec` that every run starts from, without seed."""
    runs: dict[RunName, RunEntry] = {}
    """Runs by name; those of the sweeps are added where the study is loaded."""
    sweeps: dict[Name, Sweep] = {}
    noise: Noise = Noise()
    published: dict[str, PositiveReal] = {}
    """Published values by `<run>.<metric>`; accuracies and F1 as fractions, losses in nats."""
    open_choices: tuple[OpenChoice, ...] = ()
    differences: tuple[Difference, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    tables: tuple[TableSpec, ...] = ()

    @field_validator("published")
    @classmethod
    def _published_keys(cls, value: dict[str, float]) -> dict[str, float]:
        for key, number in value.items():
            metric = _metric(key.partition(".")[2])
            if FRACTIONS.search(metric) and number > 1:
                raise ValueError(f"`{key}`: {metric} is a fraction, such as 0.97, and cannot be {number:g}")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Study:
        for what, items in (("figures", self.figures), ("tables", self.tables)):
            names = [item.name for item in items]
            if duplicates := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} share a name: {', '.join(duplicates)}")
        return self
