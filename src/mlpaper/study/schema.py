"""What may stand in `config.yaml`, in a study file and in a scale file. Only shapes: no loading, no expanding.

Everything forbids unknown keys at every level, so that `hiden: [5]` fails and suggests `hidden`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from mlpaper.errors import nearest
from mlpaper.spec import DatasetName, Model, NonNegativeReal, Part, Positive, PositiveReal, Seed
from mlpaper.study import metrics

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
"""Lower-case words joined by hyphens: names of studies, figures and tables, used in file names."""

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$", max_length=60)]
"""A run as its study calls it, such as `M1a` or `M1a-as-coded`."""

PointName = Annotated[
    str, BeforeValidator(lambda key: str(key) if isinstance(key, int) else key), Field(pattern=r"^[A-Za-z0-9-]+$")
]
"""A point of a sweep; the sweep's name, a hyphen and this make the name of its run."""


def _metric(name: str) -> str:
    if not metrics.known(name):
        names = [*metrics.METRICS, "noise_accuracy_0.1"]
        raise ValueError(f"unknown metric{nearest(name, names)}; known are {', '.join(names)} and so on")
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


def _are_seeds(value: Any) -> bool:
    """Whether these are distinct seeds; Snakemake's `--config` gives those of a list as text."""
    if not isinstance(value, (list, tuple)) or not value or not all(re.fullmatch(r"\d{1,10}", str(v)) for v in value):
        return False
    numbers = {int(seed) for seed in value}
    return len(numbers) == len(value) and max(numbers) < 2**32


# --- config.yaml


class Settings(Model):
    """`config.yaml`: what a user changes. Flat, so that every key can be given after `--config`."""

    studies: tuple[str, ...] | Literal["all"] = "all"
    """Studies to reproduce: `all`, or a list of names of files in `workflow/studies/`."""
    seeds: tuple[Seed, ...] | dict[str, tuple[Seed, ...]] | Literal["auto"] = "auto"
    """Seeds that every run is repeated over, for all studies or by study; `auto`, and a study that is not named, take
    the scale's own."""
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
    leave_out: tuple[Annotated[str, Field(pattern=r"^[a-z0-9*-]+\.[A-Za-z0-9*_-]+$")], ...] = ()
    """Runs that are not made, as `<study>.<run>`; `*` stands for anything."""

    @field_validator("studies")
    @classmethod
    def _some_studies(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("must be a list of one or more distinct values")
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _known_seeds(cls, value: Any) -> Any:
        lists = list(value.values()) if isinstance(value, dict) else [] if value == "auto" else [value]
        if not all(map(_are_seeds, lists)):
            raise ValueError(
                "must be `auto`, a list of distinct seeds such as [0, 1, 2], or such a list for some studies"
            )
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
    """Epochs, and updates where a run is stopped after some, are divided by this (at least 2 remain)."""
    max_batch_size: Positive | None = None
    max_width: Positive | None = None
    withhold: bool = True
    """Whether studies' `withhold_per_class` is applied."""
    heavy: bool = True
    """Whether runs that a study marks as heavy are heavy at this scale."""


# --- figures and tables


METRIC_FILES = ("spec.json", "run.json", "history.parquet", "evaluation.json")
"""Files of a run that its metrics are read from, besides `robustness.parquet` and `gradients.parquet`."""

RunPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9*]+([-_][A-Za-z0-9*]+)*$", max_length=60)]
"""A run, or several of them in the order of the study: `width-*`, `*`."""


class Item(Model):
    """A figure or a table: its name in the file system, and what stands under or above it."""

    files: ClassVar[tuple[str, ...]] = ()
    """Files of every run shown that it reads, besides those of its metrics."""
    about_data: ClassVar[bool] = False
    """Whether it reads the dataset and its split."""

    name: Name
    title: Prose
    """A few words; the figure's heading in lists and reports."""
    caption: Prose
    """Full sentences. Markdown, without numbers that a run decides."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it shows."""
        return ()


class SamplesFigure(Item):
    """One image of every class."""

    about_data: ClassVar[bool] = True

    kind: Literal["samples"]
    columns: Positive = 12


class ClassDistributionFigure(Item):
    """Images per class, in the order of the classes and sorted by size."""

    about_data: ClassVar[bool] = True

    kind: Literal["class-distribution"]


class CurvesFigure(Item):
    """Training and validation metrics against the epoch, or against time; bands over seeds."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "history.parquet")

    kind: Literal["curves"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metrics: tuple[Literal["loss", "accuracy"], ...] = ("loss", "accuracy")
    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    against: Literal["epoch", "time", "share"] = "epoch"
    """The horizontal axis: epochs, seconds of training, or the share of each run's own training time."""


class StepLossFigure(Item):
    """Training loss of every update beside that of every epoch, of one run that records its steps."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "history.parquet", "steps.parquet")

    kind: Literal["step-loss"]
    run: RunName


class ConfusionFigure(Item):
    """Confusion matrix of one run over the test set, each row (true class) as shares of its class."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "evaluation.json", "confusion.npz")

    kind: Literal["confusion"]
    run: RunName


class ConfusedPairsFigure(Item):
    """The classes that one run takes for one another most often, each pair with images of it from the test set."""

    files: ClassVar[tuple[str, ...]] = (
        "spec.json",
        "run.json",
        "evaluation.json",
        "confusion.npz",
        "predictions.parquet",
    )
    about_data: ClassVar[bool] = True

    kind: Literal["confused-pairs"]
    run: RunName
    pairs: Positive = 8
    images: Positive = 6
    """Images per pair: those of the highest confidence."""


class ReliabilityFigure(Item):
    """Accuracy against confidence in bins, with the expected calibration error, and how the confidences are spread."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "evaluation.json", "calibration.parquet")

    kind: Literal["reliability"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)


class ClassScoresFigure(Item):
    """F1 of every class against the number of its training images."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "evaluation.json")
    about_data: ClassVar[bool] = True

    kind: Literal["class-scores"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)


class NoiseFigure(Item):
    """Test accuracy against the standard deviation of the noise added to the images, and relative to clean images."""

    files: ClassVar[tuple[str, ...]] = (*METRIC_FILES, "robustness.parquet")

    kind: Literal["noise"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)


class GradientNormsFigure(Item):
    """L2 norm of the gradient of every weight matrix, at initialisation and after training, for every seed."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "gradients.parquet")

    kind: Literal["gradient-norms"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)


class SweepFigure(Item):
    """Metrics of one or more sweeps against what varies, one panel per metric; the published values beside them."""

    kind: Literal["sweep"]
    sweeps: tuple[Name, ...] = Field(min_length=1)
    metrics: tuple[Metric, ...] = ("test_accuracy",)
    runs: tuple[RunName, ...] = ()
    """All runs of the sweeps; filled in where the study is loaded."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return self.metrics


class ParetoFigure(Item):
    """One metric against a cost of several runs, with the runs that none other beats in both."""

    kind: Literal["pareto"]
    runs: tuple[RunPattern, ...] = ("*",)
    metric: Metric = "test_accuracy"
    cost: Metric = "seconds"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return (self.metric, self.cost)


class MetricBarsFigure(Item):
    """One metric of several runs, every seed a dot, the published value beside it."""

    kind: Literal["metric-dots"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return (self.metric,)


FigureSpec = Annotated[
    SamplesFigure
    | ClassDistributionFigure
    | CurvesFigure
    | StepLossFigure
    | ConfusionFigure
    | ConfusedPairsFigure
    | ReliabilityFigure
    | ClassScoresFigure
    | NoiseFigure
    | GradientNormsFigure
    | SweepFigure
    | ParetoFigure
    | MetricBarsFigure,
    Field(discriminator="kind"),
]


class SplitTable(Item):
    """Images, share, smallest and largest class of every part of the split."""

    about_data: ClassVar[bool] = True

    kind: Literal["split"]


class RunsTable(Item):
    """One row per run, one column per metric: mean and 95 % interval over seeds, and the published value."""

    kind: Literal["runs"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)
    """Metrics, or `hidden`, `optimizer`, `outcome`."""
    baseline: RunName | None = None
    """Adds a column with the difference of the first metric to this run."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return tuple(name for name in self.columns if name not in SETTING_COLUMNS)


class NoiseTable(Item):
    """Test accuracy of runs (rows) at every noise level (columns)."""

    files: ClassVar[tuple[str, ...]] = (*METRIC_FILES, "robustness.parquet")

    kind: Literal["noise"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)


class SettingsTable(Item):
    """What runs were trained with."""

    files: ClassVar[tuple[str, ...]] = ("spec.json",)

    kind: Literal["settings"]
    runs: tuple[RunPattern, ...] = ("*",)


class OpenChoicesTable(Item):
    """Choices that the source leaves open, the value taken and why."""

    kind: Literal["open-choices"]


class DifferencesTable(Item):
    """Where the source's text and its authors' code differ."""

    kind: Literal["differences"]


class ClaimsTable(Item):
    """The claims of the study with their verdicts."""

    kind: Literal["claims"]


TableSpec = Annotated[
    SplitTable | RunsTable | NoiseTable | SettingsTable | OpenChoicesTable | DifferencesTable | ClaimsTable,
    Field(discriminator="kind"),
]


# --- claims


RUN_FIELDS = ("run", "first", "second", "beside", "fast", "slow", "runs", "best", "wide", "narrow")
"""Fields of claims that name runs."""


class Claim(Model):
    """A statement of a source (or a question of ours about one), and the rule that decides it."""

    id: Name
    statement: Prose
    """One sentence, paraphrased."""
    origin: Literal["result", "explanation", "ours"] = "result"
    """What the source reports, how it explains what it reports, or what we ask besides."""
    as_coded: bool = False
    """Whether the claim is also tested on the runs `<run>-as-coded`, wherever there are such."""

    @property
    def named_runs(self) -> tuple[str, ...]:
        """Every run that it names."""
        values = (getattr(self, name, ()) for name in RUN_FIELDS)
        return tuple(dict.fromkeys(run for value in values for run in ((value,) if isinstance(value, str) else value)))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that decide it."""
        return (self.metric,) if hasattr(self, "metric") else ()


class DifferenceClaim(Claim):
    """`first` minus `second`, paired by seed: above the margin, below minus it, or (`equal`) between the two."""

    rule: Literal["difference"]
    first: RunName
    second: RunName
    metric: Metric
    direction: Literal["above", "below", "equal"] = "above"
    margin: NonNegativeReal = 0.0
    published: float | None = None
    """The published difference; that of the published values where there are two."""

    @model_validator(mode="after")
    def _equal_needs_a_margin(self) -> DifferenceClaim:
        if self.direction == "equal" and not self.margin:
            raise ValueError("`direction: equal` needs a margin above 0")
        return self


class ValueClaim(Claim):
    """A published value within `tolerance` of our mean."""

    rule: Literal["value"]
    run: RunName
    metric: Metric
    tolerance: PositiveReal = 0.005
    published: float | None = None
    """That of the study's `published` where none is given."""


class RangeClaim(Claim):
    """The means of all `runs` lie between `low` and `high`, both included."""

    rule: Literal["range"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _a_bound(self) -> RangeClaim:
        if self.low is None and self.high is None:
            raise ValueError("needs `low`, `high` or both")
        return self


class BestClaim(Claim):
    """The best mean of `runs` is that of one of `best`, or one of them is within `tolerance` of it."""

    rule: Literal["best"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    best: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: NonNegativeReal = 0.0


class OrderClaim(Claim):
    """The means of `runs` stand in this order, best first; neighbours may be out of it by `tolerance`."""

    rule: Literal["order"]
    runs: tuple[RunName, ...] = Field(min_length=2)
    metric: Metric
    tolerance: NonNegativeReal = 0.0


class PlateauClaim(Claim):
    """The largest mean of `runs` is at most `tolerance` above the smallest."""

    rule: Literal["plateau"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: PositiveReal


class SpreadClaim(Claim):
    """The means of `wide` are further apart (largest minus smallest) than those of `narrow`."""

    rule: Literal["spread"]
    wide: tuple[RunPattern, ...] = Field(min_length=1)
    narrow: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric


class UnstableClaim(Claim):
    """`run` diverges with any seed, or its validation accuracy changes more between epochs than that of `beside`."""

    rule: Literal["unstable"]
    run: RunName
    beside: RunName

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_jitter",)


class SpeedClaim(Claim):
    """`fast` reaches the final validation accuracy of `slow` in fewer epochs, by a factor of `published`."""

    rule: Literal["speed"]
    fast: RunName
    slow: RunName
    published: PositiveReal
    tolerance: PositiveReal
    """Of the factor."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_accuracy",)


class TurningClaim(Claim):
    """The validation loss of `run` is lowest between two epochs, then rises (means over seeds)."""

    rule: Literal["turning"]
    run: RunName
    earliest: Positive
    latest: Positive

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("best_epoch", "loss_rise")


ClaimSpec = Annotated[
    DifferenceClaim
    | ValueClaim
    | RangeClaim
    | BestClaim
    | OrderClaim
    | PlateauClaim
    | SpreadClaim
    | UnstableClaim
    | SpeedClaim
    | TurningClaim,
    Field(discriminator="rule"),
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
    claims: tuple[ClaimSpec, ...] = ()
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
            if metrics.get(metric).unit == "%" and number > 1:
                raise ValueError(f"`{key}`: {metric} is a fraction, such as 0.97, and cannot be {number:g}")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Study:
        named = {
            "figures": [figure.name for figure in self.figures],
            "tables": [table.name for table in self.tables],
            "claims": [claim.id for claim in self.claims],
        }
        for what, names in named.items():
            if duplicates := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} share a name: {', '.join(duplicates)}")
        return self
