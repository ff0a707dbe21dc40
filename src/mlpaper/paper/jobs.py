"""What the jobs of the paper are given: a figure, a table, all numbers; and the files that an item is made from.

A job holds exactly what its output depends on; the name of its file (`mlpaper.job_files`) is a parameter of its rule.
Reading results is imported where it is used: Snakemake builds these jobs each time it starts.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpaper import paths
from mlpaper.spec import Model
from mlpaper.study import metrics
from mlpaper.study.left_out import LeftOut, by_reason
from mlpaper.study.schema.items import METRIC_FILES, CalibrationFigure, FigureSpec, TableSpec, VerdictsFigure
from mlpaper.study.schema.names import RunName

if TYPE_CHECKING:
    from mlpaper.data.dataset import Dataset
    from mlpaper.data.split import Split
    from mlpaper.study.results import Results


class ItemJob(Model):
    """One figure or table, with everything it depends on."""

    study: str | None
    """None where it is about the whole paper."""
    item: FigureSpec | TableSpec | VerdictsFigure | CalibrationFigure
    runs: dict[RunName, tuple[str, ...]] = {}
    """Run folders by the study's names, one per seed, in the order of the item; none for a run that is left out."""
    left_out: dict[RunName, LeftOut] = {}
    """Runs of the item that are not made."""
    pool: str | None = None
    """Folder of the dataset."""
    split: str | None = None
    """File of the split."""
    measured: dict[RunName, tuple[str, ...]] = {}
    """Which of robustness and gradients were measured, by run."""
    claims: str | None = None
    """File of the study's ledger, or of that of all studies."""
    published: dict[str, float] = {}
    """Published values of the runs shown, by `<run>.<metric>`."""
    entries: tuple[dict[str, Any], ...] = ()
    """Rows that come from study files themselves (open choices, differences, descriptions of runs, titles)."""
    datasets: dict[str, str] = {}
    """What a table of settings calls datasets, by name."""
    watermark: str | None = None

    @property
    def id(self) -> str:
        """Name in the file system: `<study>-<item>`, or `<item>`."""
        return self.item.name if self.study is None else f"{self.study}-{self.item.name}"

    @cached_property
    def results(self) -> Results:
        """The runs shown."""
        from mlpaper.study.results import Results

        return Results(self.runs)

    def spec(self, run: str) -> dict[str, Any]:
        """Specification of a run's first seed, also of a run that is left out."""
        folders = self.results.runs[run]
        return folders[0].spec if folders else self.left_out[run].spec.model_dump(mode="json")

    @property
    def absence(self) -> str:
        """A sentence on the runs that are left out, or nothing."""
        reasons = by_reason((run, absent.because) for run, absent in self.left_out.items())
        listed = "; ".join(f"{runs} ({because})" for because, runs in reasons.items())
        return f"Not run: {listed}." if listed else ""

    @property
    def no_data(self) -> str:
        """Why there are no images to show, where an item shows some; or nothing."""
        return "The data are not provided." if self.item.about_data and self.pool is None else ""

    def dataset(self) -> Dataset:
        """The dataset, memory-mapped."""
        from mlpaper.data.dataset import Dataset

        assert self.pool is not None
        return Dataset.open(Path(self.pool))

    def indices(self) -> Split:
        """The split of the dataset."""
        from mlpaper.data.split import Split

        assert self.split is not None
        return Split.read(Path(self.split))


def inputs(job: ItemJob) -> list[str]:
    """Files that a figure or table is made from."""
    found = [
        f"{folder}/{name}" for run, folders in job.runs.items() for folder in folders for name in run_files(job, run)
    ]
    if job.claims is not None:
        found.append(job.claims)
    if job.pool is not None:
        found.append(f"{job.pool}/meta.json")
    if job.split is not None:
        found.append(job.split)
    return found


def arrays(job: ItemJob) -> list[str]:
    """Arrays that a figure or table reads; their content is told by the `meta.json` among its inputs."""
    return [] if job.pool is None else paths.pool_arrays(job.pool)


def run_files(job: ItemJob, run: str) -> tuple[str, ...]:
    """Files of a run that a figure or table reads."""
    if not job.item.metric_names:
        return job.item.files
    needed = {f"{metrics.get(metric).file}.parquet" for metric in job.item.metric_names}
    measured = (f"{name}.parquet" for name in job.measured.get(run, ()))
    return tuple(dict.fromkeys((*job.item.files, *METRIC_FILES, *(name for name in measured if name in needed))))


class MetricsJob(Model):
    """What a study's table of metrics is made from."""

    runs: dict[str, tuple[str, ...]]
    """Run name to the folders of its seeds."""
    measured: dict[str, tuple[str, ...]] = {}
    """Run name to which of `robustness` and `gradients` were measured; a run that is not there has neither."""


class StudyJob(Model):
    """What the numbers of one study are made from."""

    name: str
    title: str
    summary: str
    authors: str
    year: int | None
    citation: str
    code: str | None
    runs: dict[str, tuple[str, ...]]
    """Run folders by the study's names, one per seed; none for a run that is left out."""
    left_out: dict[str, LeftOut] = {}
    """Runs that are not made."""
    descriptions: dict[str, str]
    published: dict[str, float]
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    table: str
    """The study's table of metrics."""
    claims: str
    """The study's ledger."""
    pool: str | None
    """None where the data of none of its runs are provided."""
    split: str | None


class NumbersJob(Model):
    """What `results/numbers.json` is made from."""

    studies: tuple[StudyJob, ...]
    scale: str
    watermark: str | None
    seeds: dict[str, tuple[int, ...]]
    """Study to the seeds of its runs."""
    figures: tuple[str, ...] = ()
    """Figures of no study, but of the whole paper."""
    datasets: dict[str, str] = {}
    """What sentences call datasets, by name."""
    calibration: tuple[dict[str, Any], ...] = ()
    """How often verdicts are wrong (`mlpaper.study.calibration.counted`)."""
    command: str
    """Why runs are left out, where some are."""
