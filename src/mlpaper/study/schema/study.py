"""A study: `workflow/studies/*.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mlpaper.spec import Flag, Model, NonNegativeReal, PositiveReal, Whole
from mlpaper.study import metrics
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.schema.items import (
    ClaimsTable,
    DifferencesTable,
    FigureSpec,
    OpenChoicesTable,
    RunsTable,
    SettingsTable,
    TableSpec,
)
from mlpaper.study.schema.names import MARK, Name, Prose, RunName, RunPattern, Text, Url, check_metric

PointName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
"""A point of a sweep; the sweep's name, a hyphen and this make the name of its run."""

Changes = Annotated[dict[str, Any], Field(json_schema_extra={MARK: "Changes"})]
"""Fields of `RunSpec`, nested as there. They are checked where they are merged to whole runs."""

StandardTable = Literal["settings", "runs", "open-choices", "differences", "claims"]


class Source(Model):
    """The published text that a study reproduces."""

    citation: str
    """Key in `report/references.bib`."""
    authors: Text
    """Their names, as in a sentence: `Xavier Glorot and Yoshua Bengio`."""
    title: Text
    """Title of the text."""
    year: Whole | None = None
    """Year of publication."""
    code: Url | None = None
    """Where the authors' own code is published."""


class RunEntry(Model):
    """A run of a study: what it changes in the study's defaults, or in the run that it is `based_on`."""

    description: Text
    """A few words, for the tables: `Adam with L2`."""
    based_on: RunName | None = None
    """The run that this one starts from, instead of the study's defaults."""
    reproduces: RunName | None = None
    """The source's run that this one is compared with, where it has another name."""
    changes: Changes = {}
    """Fields of `RunSpec`, nested as there; a mapping changes only the keys that it names."""
    epochs_for_rates_of: RunName | None = None
    """A run with a schedule. This one, at a constant rate, is trained for as many epochs as give it, rounded, the same
    sum of learning rates, at every scale."""
    noise: Flag = False
    """Whether the run is tested under noise."""
    gradients: Flag = False
    """Whether norms of its gradients are among its metrics."""
    heavy: Text | None = None
    """Why this run is too heavy for many seeds, and whether it is made is for the configuration's `heavy` to say."""


class Sweep(Model):
    """Runs that differ in one field: the sweep `width` over 2 and 4 has the runs `width-2` and `width-4`."""

    label: Text = ""
    """What varies, as the label of an axis. That of the other sweep where none is given."""
    description: Text
    """Of every run; `{}` stands for the name of its point."""
    based_on: RunName | None = None
    """A run that all points start from, or another sweep: then the points are that sweep's, each based on its run."""
    changes: Changes = {}
    """What all points change."""
    vary: str = Field("", json_schema_extra={MARK: "Path"})
    """The field of `RunSpec` that varies, such as `network.hidden`."""
    points: dict[PointName, Any] = {}
    """Point to the value of that field, in the order of the axis."""
    logarithmic: Flag = False
    """Whether the axis is logarithmic."""
    noise: Flag = False
    """Whether its runs are tested under noise."""
    gradients: Flag = False
    """Whether norms of gradients are among the metrics of its runs."""
    heavy: dict[PointName, Text] = {}
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


class VariantRun(Model):
    """One run of a variant, where it differs from the others."""

    description: Text | None = None
    """Instead of the variant's."""
    changes: Changes = {}
    """Besides the variant's."""
    noise: Flag | None = None
    """Whether it is tested under noise; by default, as the run that it varies."""
    gradients: Flag | None = None
    """Whether norms of its gradients are measured; by default, as of the run that it varies."""
    heavy: Text | None = None
    """Why it is too heavy for many seeds; by default, what the run that it varies says."""


def _by_run(value: Any) -> Any:
    """A list of runs as a mapping, and no value as no differences.

    >>> _by_run(["A", "B"]), _by_run({"A": None})
    ({'A': {}, 'B': {}}, {'A': {}})
    """
    if isinstance(value, (list, tuple)) and all(isinstance(run, str) for run in value):
        return {run: {} for run in value}
    if not isinstance(value, dict):
        raise ValueError("should be a list of names of runs, or a mapping of them to what is different in each")
    return {run: {} if own is None else own for run, own in value.items()}


class Variant(Model):
    """Runs once more, with changes: the variant `pytorch` of the run `M1a` is the run `M1a-pytorch`."""

    runs: Annotated[
        dict[RunPattern, VariantRun],
        BeforeValidator(_by_run),
        Field(min_length=1, json_schema_extra={MARK: "VariantRuns"}),
    ]
    """The runs that are varied: a list of names and patterns, or a mapping to what is different in one of them."""
    description: Text | None = None
    """Of every run: `{}` stands for the description of the run that is varied, `{run}` for its name. By default it is
    `{}`, a comma and the variant's name in words: `Adam, as coded`."""
    based_on: Name | None = None
    """A variant before this one, whose runs this one starts from."""
    changes: Changes = {}
    """What all its runs change."""
    reproduces: Flag = False
    """Whether its runs are compared with the published values of those that they vary, as another reading of them."""

    def run(self, name: str, varied: str) -> str:
        """Name of the variant of a run, where this one is called `name`."""
        return f"{varied}-{name}"


class OpenChoice(Model):
    """A value that neither the source's text nor its code states."""

    what: Text
    """What is left open."""
    choice: Text
    """The value taken."""
    reason: Text
    """Why this one."""


class Difference(Model):
    """A point on which the source's text and its authors' code differ; both are run."""

    what: Text
    """What they differ on."""
    text: Text
    """What the text says."""
    code: Text
    """What the code does."""
    runs: tuple[RunName, ...] = ()
    """Runs that it concerns."""


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
    title: Text
    source: Source
    summary: Prose
    """One paragraph: what the study asks and how."""
    extra: Flag = False
    """Whether the study is made only where it is named, or with `studies: extra`, and not with `studies: all`."""
    defaults: Changes
    """The `RunSpec` that every run starts from, without seed."""
    runs: dict[RunName, RunEntry] = {}
    """Runs by name; those of the sweeps and variants are added where the study is loaded."""
    sweeps: dict[Name, Sweep] = {}
    """Runs that differ in one field, as `<sweep>-<point>`."""
    variants: dict[Name, Variant] = {}
    """Runs made once more with changes, as `<run>-<variant>`."""
    noise: Noise = Noise()
    claims: tuple[ClaimSpec, ...] = ()
    published: dict[str, PositiveReal] = {}
    """Published values by `<run>.<metric>`; accuracies and F1 as fractions, losses in nats."""
    published_on: Text | None = None
    """What the published values were measured on, where that is not the data of `defaults`; they are then shown and not
    compared with ours."""
    open_choices: tuple[OpenChoice, ...] = ()
    differences: tuple[Difference, ...] = ()
    figures: tuple[FigureSpec, ...] = ()
    tables: tuple[TableSpec, ...] = ()
    standard_tables: tuple[StandardTable, ...] = ("settings", "runs", "open-choices", "differences", "claims")
    """Kinds of tables that are added where `tables` lists none of that kind and there is something to show: settings
    and runs before the study's own tables, the others after them."""

    @property
    def all_tables(self) -> tuple[TableSpec, ...]:
        """The tables that the file lists, and those that are added."""
        runs = {"runs": tuple(self.runs)}
        first: tuple[TableSpec, ...] = (
            SettingsTable(kind="settings").model_copy(update=runs),
            RunsTable(kind="runs").model_copy(update=runs),
        )
        last: list[TableSpec] = []
        if self.open_choices:
            last.append(OpenChoicesTable(kind="open-choices"))
        if self.differences:
            last.append(DifferencesTable(kind="differences"))
        if self.claims:
            last.append(ClaimsTable(kind="claims"))
        missing = set(self.standard_tables) - {table.kind for table in self.tables}
        return (
            *(table for table in first if table.kind in missing),
            *self.tables,
            *(table for table in last if table.kind in missing),
        )

    @field_validator("published")
    @classmethod
    def _published_keys(cls, value: dict[str, float]) -> dict[str, float]:
        for key, number in value.items():
            metric = check_metric(key.partition(".")[2])
            if metrics.get(metric).unit in metrics.FRACTIONS and number > 1:
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
        every = [table.name for table in self.all_tables]
        if taken := [name for name in named["tables"] if every.count(name) > 1]:
            text = f"tables: `{taken[0]}` is the name of a table that every study has"
            raise ValueError(f"{text}; name yours otherwise, or leave that one out of `standard_tables`")
        return self
