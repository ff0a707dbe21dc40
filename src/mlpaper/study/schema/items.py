"""Figures and tables of a study: their kinds, and what each kind may be given."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from mlpaper.spec import Model, Positive
from mlpaper.study.schema.names import MARK, Metric, Name, Prose, RunName, RunPattern, Text, check_metric

METRIC_FILES = ("spec.json", "run.json", "history.parquet", "evaluation.json")
"""Files of a run that its metrics are read from, besides `robustness.parquet` and `gradients.parquet`."""


class Item(Model):
    """A figure or a table: its name in the file system, and what stands under or above it."""

    files: ClassVar[tuple[str, ...]] = ()
    """Files of every run shown that it reads, besides those of its metrics."""
    about_data: ClassVar[bool] = False
    """Whether it reads the dataset and its split."""

    name: Name
    title: Text
    """A few words; the figure's heading in lists and reports."""
    caption: Prose
    """Full sentences, without numbers that a run decides."""

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
    """Training and validation metrics against the epoch, or against updates or time; bands over seeds."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "history.parquet")

    kind: Literal["curves"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metrics: tuple[Literal["loss", "accuracy"], ...] = ("loss", "accuracy")
    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    against: Literal["epoch", "updates", "time"] = "epoch"
    """The horizontal axis: epochs, or updates of the weights or the time of training, which are logarithmic."""


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
    """Metrics of one or more sweeps against what varies, one panel per metric, with published values."""

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
    """Runs of one sweep have one colour."""
    metric: Metric = "test_accuracy"
    cost: Metric = "seconds"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return (self.metric, self.cost)


class MetricDotsFigure(Item):
    """Metrics of several runs, one panel per metric: every seed a dot, with published values.

    `M1a`, `M1a-as-coded` and `M1a-pytorch` share a row.
    """

    kind: Literal["metric-dots"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metrics: tuple[Metric, ...] = Field(min_length=1, max_length=3)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return self.metrics


class VerdictsFigure(Item):
    """All claims of the paper, each with its probability and verdict; it belongs to no study."""

    kind: Literal["verdicts"] = "verdicts"
    name: Name = "verdicts"
    title: Text = "All claims and their verdicts"
    caption: Prose


class CalibrationFigure(Item):
    """How often verdicts are wrong, by the number of seeds, in simulations and in real runs; it belongs to no study."""

    kind: Literal["calibration"] = "calibration"
    name: Name = "calibration"
    title: Text = "How far to trust a verdict"
    caption: Prose


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
    | MetricDotsFigure,
    Field(discriminator="kind"),
]


class SplitTable(Item):
    """Images, share, smallest and largest class of every part of the split."""

    about_data: ClassVar[bool] = True

    kind: Literal["split"]


SETTING_COLUMNS = ("hidden", "optimizer", "outcome")
"""Columns of a table of runs that are no metrics."""


def _column(name: str) -> str:
    return name if name in SETTING_COLUMNS else check_metric(name)


Column = Annotated[str, AfterValidator(_column), WithJsonSchema({MARK: "Column"})]


class RunsTable(Item):
    """One row per run, one column per metric: mean and 95 % interval over seeds, and the published value."""

    kind: Literal["runs"]
    name: Name = "runs"
    title: Text = "Every run"
    caption: Prose = "Every run, with the published value where there is one."
    runs: tuple[RunPattern, ...] = Field(("*",), min_length=1)
    columns: tuple[Column, ...] = Field(
        ("test_accuracy", "test_cross_entropy", "validation_accuracy", "accuracy_gap", "epochs", "seconds"),
        min_length=1,
    )
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
    name: Name = "settings"
    title: Text = "Settings of every run"
    caption: Prose = "Settings of every run."
    runs: tuple[RunPattern, ...] = ("*",)


class OpenChoicesTable(Item):
    """Choices that the source leaves open, the value taken and why."""

    kind: Literal["open-choices"]
    name: Name = "open-choices"
    title: Text = "Choices that the source leaves open"
    caption: Prose = "Values that the source's text does not state, and what was taken."


class DifferencesTable(Item):
    """Where the source's text and its authors' code differ."""

    kind: Literal["differences"]
    name: Name = "differences"
    title: Text = "Where text and code differ"
    caption: Prose = "Points on which the source's text and its authors' code differ."


class ClaimsTable(Item):
    """The claims of the study with their verdicts."""

    kind: Literal["claims"]
    name: Name = "claims"
    title: Text = "Claims and verdicts"
    caption: Prose = (
        "The claims of the source, the rule that decides each, the published value and ours, and the verdict with the "
        "probability that the claim holds."
    )


class PlacementsTable(Item):
    """Time and device memory of one run with images resident on a GPU and streamed to it, by batch size."""

    files: ClassVar[tuple[str, ...]] = ("spec.json", "run.json", "placements.parquet")

    kind: Literal["placements"]
    run: RunName


TableSpec = Annotated[
    SplitTable
    | RunsTable
    | NoiseTable
    | SettingsTable
    | OpenChoicesTable
    | DifferencesTable
    | ClaimsTable
    | PlacementsTable,
    Field(discriminator="kind"),
]
