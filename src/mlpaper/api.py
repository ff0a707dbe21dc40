"""The interface for notebooks and scripts: train a specification on arrays, open runs, read results, test claims.

Everything here goes through the functions of the pipeline's own jobs: a run that is trained here has the same bits as
the job of the same specification on the same images. All functions are attributes of `mlpaper`.

Conventions: N images, D pixels, K classes, rows are samples. Images are ``uint8``; a specification says how they are
scaled. Accuracies are fractions, losses are means in nats, times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mlpaper.data.dataset import META, Dataset
from mlpaper.data.mirror import check_mirror, parse_mirror
from mlpaper.data.split import make_split
from mlpaper.devices import leased
from mlpaper.digest import RULES, digest
from mlpaper.engine import backend as backends
from mlpaper.engine.executor import EVALUATION_ROWS, Executor, Pool
from mlpaper.engine.model import flat_state
from mlpaper.engine.train_job import history_columns, outcome_of, prepare_trainer, train_to_the_end, write_run
from mlpaper.errors import ConfigurationError, DataError, MlpaperError, nearest
from mlpaper.evaluate.gradients import IMAGES, measured, norms_at_both_moments
from mlpaper.evaluate.predict import calibrated, evaluation, load_run, predict, trained_executor
from mlpaper.files import read_frame
from mlpaper.paths import LEDGER, pool_folder, run_folder, study_table
from mlpaper.run_files import read_table, read_weights
from mlpaper.run_store import Made
from mlpaper.spec import Model, RunSpec, hash8
from mlpaper.study.expansion import SPEC_DEFAULTS, merge
from mlpaper.study.ledger import VERDICTS, Verdict, read_ledger
from mlpaper.study.ledger import judge as decide
from mlpaper.study.measurements import Measurements
from mlpaper.study.plan import PATTERNS, find_study, load_plan, runs_like
from mlpaper.study.plan import load_study as read_study
from mlpaper.study.results import Results, RunFolder
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.schema.study import Study
from mlpaper.study.validate import Origin, validate
from mlpaper.verify import Unavailable, prepared

__all__ = [
    "ConfigurationError",
    "Data",
    "DataError",
    "Images",
    "MlpaperError",
    "ResultTables",
    "Run",
    "Verdict",
    "claims",
    "judge",
    "load_data",
    "load_spec",
    "load_study",
    "make_spec",
    "measure",
    "open_run",
    "results",
    "train",
]
Where = str | Path


# --- studies and specifications


def load_study(study: Where, project: Where | None = None) -> Study:
    """A study: its runs, sweeps, claims, figures and tables, checked as the pipeline checks them.

    Parameters
    ----------
    study : str or Path
        Name of a file in ``workflow/studies/``, or its path.
    project : str or Path, optional
        Folder of the project. By default the one that holds the current folder, else the one that this package is in.

    Returns
    -------
    Study
        The content of the file, as a model with a field for every key.

    Raises
    ------
    ConfigurationError
        There is no such study, or its file is not valid. The message says which line, and names the nearest right word.

    Examples
    --------
    >>> study = load_study("residual-depth")
    >>> study.runs["plain-30"].gradients, study.claims[0].rule, study.claims[0].named_runs
    (True, 'share', ('plain-30',))
    """
    return read_study(_study_file(study, project))


def load_spec(
    study: Where, run: str, *, scale: str = "paper", seed: int = 0, project: Where | None = None, **settings: Any
) -> RunSpec:
    """The specification of one run of a study, as the pipeline trains it.

    Parameters
    ----------
    study, project : str or Path
        As for `load_study`.
    run : str
        Name of the run, such as ``M1b``; that of a sweep's run is sweep and point, such as ``width-64``.
    scale : str
        Name of a file in ``workflow/scales/``: ``paper`` as the source did, or ``demo`` on scikit-learn's digits.
    seed : int
        Seed of the run, at least 0.
    **settings
        Other keys of ``config.yaml`` that change specifications, such as ``emnist_parts=["test"]``.

    Raises
    ------
    ConfigurationError
        There is no such study, run, scale or setting.

    Examples
    --------
    >>> spec = load_spec("emnist-bymerge", "M1b", scale="demo")
    >>> spec.dataset.name, spec.network.hidden, spec.optimizer.name, spec.epochs
    ('digits', (128, 64), 'adam', 10)
    """
    path = _study_file(study, project)
    asked = {"heavy": "all", "twin": "always", "scale": scale, "studies": [path.stem], "seeds": [seed], **settings}
    runs = load_plan(asked, path.parents[1], name="load_spec").specs[path.stem]
    if run not in runs:
        raise ConfigurationError(f"load_spec: the study {path.stem} has no run `{run}`{nearest(run, runs)}")
    return runs[run][0]


def make_spec(changes: Mapping[str, Any], based_on: RunSpec | None = None) -> RunSpec:
    """A specification from what differs from another one, or from the defaults.

    Parameters
    ----------
    changes : mapping
        Fields of `mlpaper.spec.RunSpec`, nested as under ``changes:`` in a study: a mapping changes only the keys that
        it names.
    based_on : RunSpec, optional
        The specification that is changed.

    Raises
    ------
    ConfigurationError
        A key or value is wrong; the message names the nearest right one.

    Examples
    --------
    >>> spec = make_spec({"network": {"hidden": [32]}, "epochs": 3})
    >>> wide = make_spec({"network": {"hidden": [256]}}, based_on=spec)
    >>> wide.network.hidden, wide.epochs
    ((256,), 3)
    """
    values = {"dataset": {"name": "digits"}, **SPEC_DEFAULTS} if based_on is None else based_on.model_dump(mode="json")
    return validate(RunSpec, merge(values, changes), Origin("make_spec"))


# --- data


class Images(NamedTuple):
    """Images with their labels."""

    images: NDArray[np.uint8]
    """uint8 (N, D), D pixels from 0 to 255 row by row."""
    labels: NDArray[np.int64]
    """Class of every image, 0 to K - 1, (N,)."""


@dataclass(frozen=True)
class Data:
    """The images of a specification, split as it says."""

    train: Images
    """Training images and labels."""
    validation: Images
    """Validation images and labels."""
    test: Images
    """Test images and labels."""
    classes: tuple[str, ...]
    """Names of the K classes, in the order of their labels."""


def load_data(spec: RunSpec, *, project: Where | None = None, mirror: str | None = None) -> Data:
    """The training, validation and test images of a specification, in memory.

    Parameters
    ----------
    spec : RunSpec
        Its `dataset` and `split` say which images.
    mirror : str, optional
        Folder or URL with the official files, where the pipeline has not prepared the dataset in ``data/`` yet.
        scikit-learn's digits need neither.

    Raises
    ------
    DataError
        The dataset is neither prepared nor on the mirror. The message says how to get it.
    ConfigurationError
        The mirror is neither a folder nor a URL.

    Examples
    --------
    >>> data = load_data(load_spec("emnist-bymerge", "M1b", scale="demo"))
    >>> data.train.images.shape, data.train.images.dtype, len(data.test.labels), len(data.classes)
    ((1253, 784), dtype('uint8'), 368, 10)
    """
    try:
        place = parse_mirror(mirror) if mirror else None
    except ValueError as error:
        raise ConfigurationError(f"load_data: `mirror` {error}, not {mirror!r}") from None
    check_mirror(place, "load_data: `mirror`")
    with prepared(_project(project), place) as found:
        try:
            dataset = Dataset.open(found.pool(spec.dataset))
        except Unavailable as error:
            target = f"{pool_folder(spec.dataset)}/{META}"
            raise DataError(f"{error}; or let the pipeline prepare it: snakemake --cores 1 {target}") from error
        split = make_split(dataset.labels, spec.split, dataset.part_ranges, dataset.classes)
        train, validation, test = (
            Images(dataset.images[rows], dataset.labels[rows]) for rows in (split.train, split.validation, split.test)
        )
        return Data(train, validation, test, dataset.classes)


# --- runs


@dataclass(frozen=True)
class Run:
    """A trained run: one specification, one seed."""

    spec: RunSpec
    """What was trained."""
    outcome: dict[str, Any] = field(repr=False)
    """What ``run.json`` says: how training ended (``outcome``: finished, stopped_early or diverged), epochs, seconds,
    machine."""
    history: pd.DataFrame = field(repr=False)
    """One row per epoch, with epoch, step, lr, train_loss, train_accuracy, validation_loss, validation_accuracy and
    seconds.

    Training values are means over the epoch, each before its update. Without validation images, those columns are NaN.
    """
    _read_weights: Callable[[], dict[str, NDArray[np.float32]]] = field(repr=False)

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Parameters by layer and name, such as ``0.weight`` (D, H), ``0.bias`` (H,); layer 0 is next to the pixels."""
        return self._read_weights()

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return int(next(reversed([array for name, array in self.weights.items() if name.endswith("weight")])).shape[1])

    def predict(self, images: ArrayLike) -> NDArray[np.float32]:
        """Probability of every class for every image, float32 (N, K); the rows sum to 1.

        Parameters
        ----------
        images : uint8 (N, D)
            Pixels as in training.

        Notes
        -----
        Dropout is off, and batch norm uses its running statistics. Of a network trained on squared or absolute errors,
        these are the softmax of its outputs.
        """
        checked = _checked_images(images, "images", self._pixels)
        executor = self._executor(Images(checked, np.zeros(len(checked), np.int64)))
        rows = (np.arange(begin, min(begin + EVALUATION_ROWS, len(checked))) for begin in _starts(len(checked)))
        parts = [np.exp(executor.predict(executor.inputs(index)).log_probabilities) for index in rows]
        return np.concatenate([np.empty((0, self.classes), np.float32), *parts])

    def gradients(self, images: ArrayLike, labels: ArrayLike) -> pd.DataFrame:
        """L2 norms of the gradient of every weight matrix, at initialisation and after training.

        Parameters
        ----------
        images, labels : uint8 (N, D) and int (N,)
            The first 2,048 are used, as one batch.

        Returns
        -------
        DataFrame
            One row per moment (`initialisation`, `trained`) and weight matrix: moment, layer (0 is next to the
            pixels), inputs, outputs, norm. The gradient is that of the mean loss, without weight decay, clipping and
            dropout; batch norm uses the batch. After training, the norms of a diverged run are NaN.
        """
        sample = _checked(images, labels, "", self.classes, self._pixels)
        sample = Images(sample.images[:IMAGES], sample.labels[:IMAGES])
        spec = measured(self.spec)
        executor = self._executor(sample, spec, len(sample.labels))
        index = np.arange(len(sample.labels))
        return pd.DataFrame(norms_at_both_moments(spec, executor, index, self.outcome["outcome"] == "diverged"))

    def _executor(self, sample: Images, spec: RunSpec | None = None, batch: int = 1) -> Executor:
        pool = Pool(*sample, self.classes)
        every = np.arange(len(sample.labels))
        return trained_executor(
            spec or self.spec, self.weights, f"weights of {self.spec.id}", pool, every, backends.select("cpu"), batch
        )

    @property
    def _pixels(self) -> int:
        return int(self.weights["0.weight"].shape[0])


def train(
    spec: RunSpec,
    images: ArrayLike,
    labels: ArrayLike,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    classes: int | None = None,
    device: Literal["cpu", "gpu", "auto"] = "cpu",
    folder: Where | None = None,
) -> Run:
    """Train a specification on arrays.

    With the images of the specification's own dataset and split (`load_data`) the run has the same bits as the
    pipeline's. With others, its `dataset` and `split` mean nothing. ``logging.basicConfig(level="INFO")`` shows a line
    per epoch.

    Parameters
    ----------
    spec : RunSpec
        From `load_spec` or `make_spec`.
    images, labels : uint8 (N, D) and int (N,)
        Training images, pixels from 0 to 255, and their classes, from 0 to K - 1.
    validation : (images, labels), optional
        Images and labels that the network is evaluated on after every epoch; early stopping needs them.
    classes : int, optional
        Number of classes K; by default, one more than the largest label.
    device : {"cpu", "gpu", "auto"}
        ``auto`` takes a GPU where there is one. Both give the same results up to rounding.
    folder : str or Path, optional
        Where the files of the run go, for `open_run`; an earlier run there is replaced. By default none are written.

    Raises
    ------
    DataError
        An array has the wrong type or shape, or a label is not a class.
    ConfigurationError
        The specification does not fit the arrays.

    Examples
    --------
    >>> spec = load_spec("emnist-bymerge", "M1b", scale="demo")
    >>> data = load_data(spec)
    >>> run = train(make_spec({"epochs": 3}, based_on=spec), *data.train, validation=data.validation)
    >>> run.outcome["outcome"], len(run.history), run.weights["0.weight"].shape
    ('finished', 3, (784, 128))
    >>> probabilities = run.predict(data.test.images)
    >>> probabilities.shape, bool((probabilities.argmax(axis=1) == data.test.labels).mean() > 0.8)
    ((368, 10), True)
    """
    given = _checked(images, labels, "")
    pixels = given.images.shape[1]
    held_out = Images(given.images[:0], given.labels[:0])
    if validation is not None:
        held_out = _checked(*validation, "validation ", classes=None, pixels=pixels)
    elif spec.early_stopping is not None:
        raise ConfigurationError(
            "train: the specification stops early, which needs validation images: give `validation=(images, labels)`, "
            'or a specification without: make_spec({"early_stopping": None}, based_on=spec)'
        )
    all_labels = np.concatenate([given.labels, held_out.labels])
    pool = Pool(np.concatenate([given.images, held_out.images]), all_labels, _number_of_classes(all_labels, classes))
    index = np.arange(len(all_labels))
    with leased("cpu" if spec.engine == "torch" else device) as chosen:
        backend, count = backends.select(chosen), len(given.labels)
        trainer = prepare_trainer(spec, pool, index[:count], index[count:], backend)
        train_to_the_end(trainer)
        code = digest(*RULES["train" if spec.engine == "mlpaper" else "twin"])
        made = Made(spec.canonical(), code, data=None, split=None)
        outcome = outcome_of(trainer, made)
        if folder is not None:
            write_run(Path(folder), trainer, made)
        weights = {name: array.copy() for name, array in trainer.executor.model.tensors().items()}
    return Run(spec, outcome, pd.DataFrame(history_columns(trainer.progress)), lambda: weights)


def open_run(run: Where, *, project: Where | None = None) -> Run:
    """A run that the pipeline or `train` has made.

    Parameters
    ----------
    run : str or Path
        Its id, which is the name of its folder in ``results/runs/`` (column `run_id` of `results`), or its folder.

    Raises
    ------
    DataError
        There is no such run, or its files are not sound.
    """
    folder = Path(run)
    if not folder.is_dir():
        folder = _project(project) / run_folder(str(run))
    if not folder.is_dir():
        others = [path.name for path in folder.parent.glob("*")]
        raise DataError(f"there is no run {folder}{nearest(folder.name, others)}")
    try:
        spec, outcome = load_run(folder)
        history = read_table(folder, "history", spec.id).replace_schema_metadata().to_pandas()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: not the folder of a whole run ({error}). Remove it and train again") from error
    return Run(spec, outcome, history, lambda: read_weights(folder))


# --- results


@dataclass(frozen=True)
class ResultTables:
    """Metrics and histories of many runs, as tidy tables."""

    metrics: pd.DataFrame
    """One row per run, seed and metric, with study, run, seed, run_id, outcome, metric and value. Values are fractions,
    nats, seconds, MiB or counts."""
    open: Callable[[str], Run] = field(repr=False)
    """The run of a `run_id`."""

    @cached_property
    def histories(self) -> pd.DataFrame:
        """One row per epoch of every run, with study, run, seed, and the columns of `Run.history`."""
        return pd.concat([pd.DataFrame(columns=["study", "run", "seed"]), *self._histories()], ignore_index=True)

    def table(self, metric: str = "test_accuracy") -> pd.DataFrame:
        """One metric, a row per run (of `results`: per study and run), a column per seed.

        Raises
        ------
        ConfigurationError
            No run has this metric.
        """
        found = self.metrics[self.metrics["metric"] == metric]
        if found.empty:
            known = self.metrics["metric"].unique()
            raise ConfigurationError(f"no run has the metric `{metric}`{nearest(metric, known)}")
        index = ["study", "run"] if found["study"].any() else ["run"]
        return found.pivot(index=index, columns="seed", values="value")

    def _histories(self) -> Iterator[pd.DataFrame]:
        ended = self.metrics.drop_duplicates(["study", "run", "seed"])
        for study, run, seed, run_id in ended[["study", "run", "seed", "run_id"]].itertuples(index=False):
            history = self.open(run_id).history
            yield history.assign(study=study, run=run, seed=seed)[["study", "run", "seed", *history.columns]]


def results(study: str | None = None, *, project: Where | None = None) -> ResultTables:
    """What the pipeline has measured, of one study or of all.

    Parameters
    ----------
    study : str, optional
        Only the runs of this study.

    Raises
    ------
    MlpaperError
        There are no results yet. The message says which command makes them.
    """
    root = _project(project)
    files = {path.parent.name: path for path in sorted(root.glob(study_table("*")))}
    if not files or study not in (None, *files):
        wanted = root / study_table(study or "*")
        mend = "snakemake --cores 4 makes it, and the runs behind it"
        raise MlpaperError(f"{wanted} is missing{nearest(study or '', files)}: {mend}")
    asked = files.items() if study is None else [(study, files[study])]
    table = pd.concat([read_frame(file).assign(study=name) for name, file in asked], ignore_index=True)
    columns = ["study", *(name for name in table.columns if name != "study")]
    return ResultTables(table[columns], lambda run: open_run(run, project=root))


def measure(runs: Mapping[str, Run | Sequence[Run]], images: ArrayLike, labels: ArrayLike) -> ResultTables:
    """The metrics of runs that were trained here, on test images: the same table as `results` has.

    Parameters
    ----------
    runs : mapping of str to Run or list of Run
        Name to a run, or to several of different seeds.
    images, labels : uint8 (N, D) and int (N,)
        Test images and their classes.

    Examples
    --------
    >>> data = load_data(make_spec({}))
    >>> spec = make_spec({"network": {"hidden": [16]}, "epochs": 2})
    >>> tables = measure({"narrow": train(spec, *data.train)}, *data.test)
    >>> tables.table("parameters").values.tolist()
    [[12730.0]]
    """
    given = {name: [of] if isinstance(of, Run) else list(of) for name, of in runs.items()}
    folders = {name: [_InMemory.of(name, run, images, labels) for run in of] for name, of in given.items()}
    for name, of in given.items():
        if len({run.spec.seed for run in of}) < len(of):
            raise ConfigurationError(
                f"measure: two runs of `{name}` have the same seed; give their specifications others"
            )
    tables = Results({})
    tables.runs = {name: list[RunFolder](of) for name, of in folders.items()}
    metrics = tables.metrics({})
    metrics.insert(0, "study", "")
    return ResultTables(metrics, {folder.id: folder.run for of in folders.values() for folder in of}.__getitem__)


@dataclass(frozen=True)
class _InMemory(RunFolder):
    """A run of `train` as if it had a folder, which is named by its weights as well."""

    run: Run

    @classmethod
    def of(cls, name: str, run: Run, images: ArrayLike, labels: ArrayLike) -> _InMemory:
        test = _checked(images, labels, "test ", run.classes, run._pixels)
        folder = cls(name, Path(f"{run.spec.id}-{hash8(flat_state(run.weights).tobytes().hex())}"), run)
        columns = predict(run._executor(test), np.arange(len(test.labels)))
        names = tuple(map(str, range(run.classes)))
        scores = evaluation(columns, calibrated(columns), names, run.outcome["outcome"])
        folder.__dict__.update(spec=run.spec.model_dump(mode="json"), outcome=run.outcome, evaluation=scores)
        return folder

    def _columns(self, name: str) -> dict[str, list[Any]]:
        return {str(column): values.tolist() for column, values in self.run.history.items()}


# --- claims


def claims(study: str | None = None, verdict: str | None = None, *, project: Where | None = None) -> pd.DataFrame:
    """The ledger: every claim with its rule, both numbers and the verdict, as ``mlpaper claims`` prints it.

    Parameters
    ----------
    study, verdict : str, optional
        Only the claims of this study, or with this verdict, such as ``contradicted``.

    Returns
    -------
    DataFrame
        One row per claim and reading: study, id, statement, place, origin, kind, tested_by, reading, rule, metric,
        runs, claim (the entry of the study file, as JSON), verdict, probability, value, half_width (of the 95 %
        interval), drawn (quantiles 0.025, 0.25, 0.5, 0.75 and 0.975 of the draws of value), seeds, published, means
        (run to mean, as JSON), remark.

    Raises
    ------
    MlpaperError
        There is no ledger yet, or it has no such study or verdict.
    """
    table = pd.DataFrame(read_ledger(_project(project) / LEDGER))
    for column, asked, known in (("study", study, table["study"].unique()), ("verdict", verdict, VERDICTS)):
        if asked is not None and asked not in known:
            raise MlpaperError(
                f"the ledger has no {column} `{asked}`{nearest(asked, known)}; it has {', '.join(known)}"
            )
        if asked is not None:
            table = table[table[column] == asked]
    return table.reset_index(drop=True)


class _Claim(Model):
    claim: ClaimSpec


def judge(claim: Mapping[str, Any], tables: ResultTables, study: str | None = None) -> Verdict:
    """Test a claim of your own on results, by the rules that the studies use.

    Parameters
    ----------
    claim : mapping
        As under ``claims:`` in a study file: a rule and what it needs. `id`, `statement` and `place` may be left out.
    tables : ResultTables
        From `results` or `measure`.
    study : str, optional
        Whose runs the claim names, where the tables hold several studies.

    Returns
    -------
    Verdict
        The word (`verdict`), the probability that the claim holds, our number with the half-width of its 95 % interval
        (`value`, `half_width`), the seeds that it rests on, the mean of every run (`means`), and a remark.

    Raises
    ------
    ConfigurationError
        The claim is not valid, or names a run that the tables do not have.
    """
    table = _of_study(tables.metrics, study)
    given = {"id": "own", "statement": "A claim of our own.", **claim}
    entry = validate(
        _Claim, {"claim": given if "place" in given else {"origin": "ours", **given}}, Origin("judge")
    ).claim
    available = list(dict.fromkeys(table["run"]))
    for name in (name for name in PATTERNS if getattr(entry, name, None)):
        try:
            entry = entry.model_copy(update={name: runs_like(getattr(entry, name), available)})
        except LookupError as error:
            raise ConfigurationError(f"judge: `{name}`: no run is like `{error.args[0]}`") from None
    for run in entry.named_runs:
        if run not in available:
            raise ConfigurationError(
                f"judge: there is no run `{run}`{nearest(run, available)}; there are {', '.join(available)}"
            )

    def accuracies(run: str) -> dict[int, list[float]]:
        of_run = table[(table["run"] == run) & (table["outcome"] != "diverged")].drop_duplicates("seed")
        histories = {
            seed: tables.open(name).history for seed, name in of_run[["seed", "run_id"]].itertuples(index=False)
        }
        return {seed: history["validation_accuracy"].tolist() for seed, history in histories.items()}

    guess = 1 / tables.open(table["run_id"].iloc[0]).classes
    return decide(entry, Measurements(table, {}, {}, accuracies, guess))


def _of_study(table: pd.DataFrame, study: str | None) -> pd.DataFrame:
    names = list(table["study"].unique())
    if study is None and len(names) == 1:
        study = names[0]
    if study not in names:
        text = "say which: " if study is None else f"there is no study `{study}`{nearest(study, names)}; there are "
        raise ConfigurationError(f"judge: the tables hold several studies; {text}{', '.join(names)}")
    return table[table["study"] == study]


# --- checks


def _project(project: Where | None) -> Path:
    """The folder of the project: the given one, one that holds the current folder, or the one of this package."""
    if project is not None:
        return Path(project)
    around = (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2])
    for folder in around:
        if (folder / "workflow" / "studies").is_dir():
            return folder
    raise MlpaperError("no project here: no folder above this one has `workflow/studies`. Give `project=`, its folder")


def _study_file(study: Where, project: Where | None) -> Path:
    if (path := Path(study)).suffix in (".yaml", ".yml"):
        return path.resolve()
    return find_study(str(study), _project(project) / "workflow", Origin("load_study"))


def _checked(
    images: ArrayLike, labels: ArrayLike, what: str, classes: int | None = None, pixels: int | None = None
) -> Images:
    """Images and labels as arrays that the engine takes; `what` is said of them in errors."""
    checked = _checked_images(images, f"{what}images", pixels)
    given = np.asarray(labels)
    if given.dtype.kind not in "iu" or given.shape != (len(checked),):
        raise DataError(f"{what}labels must be integers of shape ({len(checked)},), not {given.dtype} {given.shape}")
    if given.min(initial=0) < 0 or (classes is not None and given.max(initial=0) >= classes):
        bounds = "at least 0" if classes is None else f"from 0 to {classes - 1}"
        raise DataError(f"{what}labels must be {bounds}; they go from {given.min()} to {given.max()}")
    return Images(checked, given.astype(np.int64))


def _checked_images(images: ArrayLike, what: str, pixels: int | None = None) -> NDArray[np.uint8]:
    given = np.asarray(images)
    if given.dtype != np.uint8 or given.ndim != 2 or not given.size:
        mend = "flatten them: images.reshape(len(images), -1)" if given.ndim > 2 else "a row per image, pixels 0 to 255"
        raise DataError(f"{what} must be uint8 of shape (N, D), not {given.dtype} {given.shape}; {mend}")
    if pixels is not None and given.shape[1] != pixels:
        raise DataError(f"{what} have {given.shape[1]} pixels, and the network takes {pixels}")
    return np.ascontiguousarray(given)


def _number_of_classes(labels: NDArray[np.int64], classes: int | None) -> int:
    found = int(labels.max()) + 1
    if classes is not None and classes < found:
        raise DataError(f"labels go up to {found - 1}, and `classes={classes}` allows no more than {classes - 1}")
    return found if classes is None else classes


def _starts(count: int) -> range:
    return range(0, count, EVALUATION_ROWS)
