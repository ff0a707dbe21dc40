"""How long a plan will take, told before it is started: every kind of training step is timed for a moment.

Runs that cost the same per update are timed once, by the trainer that would train them, on made-up images: no dataset
needs to be there. Times are of the processor (`time.process_time`), so that other programs do not lengthen them; one
thread is assumed, as in the pipeline. A run's time is then

    images trained on * time per image + epochs * (shuffling + validation images * time per image) + start-up,

which is the most it can take where early stopping may end it. Evaluating it on the test set, and on noisy images
where its study asks for that, is added.
"""

from __future__ import annotations

import heapq
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import yaml

from mlpaper.data import PIXELS, SIDE
from mlpaper.data.sources import get_source
from mlpaper.digest import RULES, digest
from mlpaper.engine.train import CALL, Trainer
from mlpaper.errors import ConfigurationError, MlpaperError
from mlpaper.files import read_json
from mlpaper.paths import run_folder
from mlpaper.spec import SGD, Adam, ConstantSchedule, CrossEntropySpec, DecaySpec, InputSpec, PoolSpec, RunSpec
from mlpaper.study.plan import Plan, noise_levels
from mlpaper.study.yaml import load

if TYPE_CHECKING:
    from rich.console import Console

# --- the configuration


def configuration(file: Path, changes: Iterable[str]) -> dict[str, Any]:
    """The keys of the configuration `file`, with the `changes`: ``key=value``, the value in YAML.

    Raises
    ------
    ConfigurationError
        A change is no ``key=value``, or its value is no YAML.
    """
    config = load(file)
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigurationError(f"--config: `{change}` is not KEY=VALUE, such as scale=demo or seeds='[0]'")
        try:
            config[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigurationError(f"--config: `{key}`: `{text}` is not valid YAML") from None
    return config


# --- what is to be done


@dataclass(frozen=True)
class Sizes:
    """Images of each set of a split, to within one per class: sizes of classes are not in the registry."""

    train: int
    validation: int
    test: int


def sizes(spec: RunSpec) -> Sizes:
    """How many images a run trains, validates and tests on, by its specification and the registry of datasets."""
    source, split = get_source(spec.dataset.name), spec.split
    counts = {part: source.parts[part].count for part in spec.dataset.parts}
    if split.scheme == "pool":
        pool = sum(counts.values()) - split.withhold_per_class * len(source.classes)
        train, validation = (_share(fraction, pool) for fraction in (split.train, split.validation))
        return Sizes(train, validation, pool - train - validation)
    whole = min(counts.get("train", 0), split.subset or sys.maxsize)
    held_out = split.validation if isinstance(split.validation, int) else _share(split.validation, whole)
    return Sizes(whole - held_out, held_out, counts.get("test", 0))


def _share(fraction: float, count: int) -> int:
    """Floor of the decimal `fraction`, as it was written, of `count`."""
    return int(Fraction(str(fraction)) * count)


@dataclass(frozen=True)
class Work:
    """What a run does if nothing ends it early."""

    batch: int
    """Images per update."""
    steps: int
    """Updates."""
    images: int
    """Images trained on, each as often as it is: the last batch of an epoch may be smaller."""
    epochs: int
    """Epochs, counting one that `updates` cuts short."""
    at_most: bool
    """Whether early stopping may end it before."""


def work(spec: RunSpec) -> Work:
    """What `spec` asks for."""
    train = sizes(spec).train
    batch = train if spec.batch_size == "full" else min(spec.batch_size, train)
    per_epoch = -(-train // batch)
    steps = min(spec.epochs * per_epoch, spec.updates or sys.maxsize)
    whole, rest = divmod(steps, per_epoch)
    epochs = whole + (rest > 0)
    stopping = spec.early_stopping
    at_most = stopping is not None and epochs > stopping.patience + 1
    return Work(batch, steps, whole * train + rest * batch, epochs, at_most)


def probe(spec: RunSpec) -> RunSpec:
    """The run that stands for all whose updates cost what those of `spec` do: numbers that no cost depends on are gone.

    What stays is the network's shape, the kinds of loss, optimiser and decay, the background of the images, whether
    they are deformed, and how many make a batch.
    """
    loss, optimizer, decay = spec.loss, spec.optimizer, spec.decay
    if isinstance(loss, CrossEntropySpec):
        smoothing, weights = 0.1 if loss.label_smoothing else 0.0, "balanced" if loss.class_weights else None
        loss = CrossEntropySpec(label_smoothing=smoothing, class_weights=weights)
    kind: SGD | Adam = Adam()
    if isinstance(optimizer, SGD):
        kind = SGD(momentum=0.9 if optimizer.momentum else 0.0, nesterov=optimizer.nesterov)
    network = {"initializer": "pytorch", "dropout": 0.5 if spec.network.dropout else 0.0}
    decays = {name: 1e-3 if getattr(decay, name) else 0.0 for name in ("l2", "decoupled")}
    return RunSpec(
        dataset=PoolSpec(name=spec.dataset.name),
        input=spec.input,
        augmentation=spec.augmentation,
        network=spec.network.model_copy(update=network),
        loss=loss if isinstance(loss, CrossEntropySpec) else type(loss)(),
        optimizer=kind,
        schedule=ConstantSchedule(),
        decay=DecaySpec(**decays, parameters=decay.parameters) if any(decays.values()) else DecaySpec(),
        clip_norm=None if spec.clip_norm is None else 1.0,
        batch_size=work(spec).batch,
        engine=spec.engine,
    )


# --- images that look like a dataset's to the engine


@dataclass(frozen=True)
class Look:
    """What of a dataset's images decides how fast the engine is, which leaves out pixels that are background.

    A pixel at distance r from the centre is not background with probability ``min(1, peak exp(-(r / spread)^2))``;
    `stroke` neighbours in a row are decided together.
    """

    peak: float
    spread: float
    stroke: int


_EMNIST = Look(1.442, 7.91, 5)
LOOKS: Mapping[str, Look] = {
    "mnist": Look(1.117, 6.552, 4),
    "fashion_mnist": Look(1.751, 9.291, 6),
    "emnist_bymerge": _EMNIST,
    "emnist_balanced": _EMNIST,
    "digits": Look(35.6, 6.248, 1),
}
"""Fitted to three shares of the real images: pixels that are not background (0.190, 0.501, 0.334 and 0.699 of MNIST,
Fashion-MNIST, EMNIST and the digits), pixels that are not in any of six images (0.435, 0.841, 0.656, 0.860: the engine
takes six at a time), and runs of six pixels of which any is not (0.341, 0.686, 0.512, 0.878)."""
DISTINCT = 4096
"""Images that are drawn; more are copies of them."""


def pretended(dataset: str, count: int) -> np.ndarray:
    """Made-up images with the background of a dataset's, uint8 (count, `PIXELS`)."""
    look, rng = LOOKS[dataset], np.random.default_rng(0)
    place = np.arange(SIDE) - (SIDE - 1) / 2
    radius2 = (place[:, None] ** 2 + place**2).ravel()
    probability = look.peak * np.exp(-radius2 / look.spread**2)
    images = min(count, DISTINCT)
    phase = rng.integers(0, look.stroke, (images, 1))
    strokes = (np.arange(PIXELS) + phase) // look.stroke
    drawn = np.take_along_axis(rng.random((images, PIXELS // look.stroke + 2), np.float32), strokes, axis=1)
    grey = rng.integers(1, 256, (images, PIXELS), np.uint8)
    return np.resize(np.where(drawn < probability, grey, np.uint8(0)), (count, PIXELS))


# --- timing


@dataclass(frozen=True)
class Cost:
    """Seconds of one core."""

    build: float
    """To set up the network: initial weights and work space."""
    image: float
    """Per image trained on."""
    evaluated: float
    """Per image evaluated."""


class Stopwatch(Protocol):
    """What the estimate asks of a machine."""

    def cost(self, probe: RunSpec) -> Cost:
        """What the updates of a run like `probe` take."""

    def shuffling(self, count: int) -> float:
        """Seconds to put `count` images into a new order."""

    def noisy(self, probe: RunSpec, levels: int) -> float:
        """Seconds per image to draw its noise and evaluate it at so many levels."""

    def job(self, engine: str) -> float:
        """Seconds of a training job besides training: Python, imports, opening and writing files.

        A job that adds noise to images starts as one that trains with the engine `mlpaper`.
        """

    def evaluation_job(self) -> float:
        """The same of a job that evaluates."""


POOL = 1 << 16
"""Made-up images: 51 MB, more than a cache holds, as real datasets are."""
LEAST_ROWS = 512
"""Images that an update is timed with at least, where it has as many. The engine takes 516 at a time, so that from
here on an update takes time in proportion to its images (and what does not grow with them, the optimiser's part, is
then small: six operations per weight and image, about ten per weight and update)."""
SPACE = 1 << 28
"""Bytes of activations and their gradients in a timed update."""
EVALUATED = 4096
"""Images in a timed evaluation, unless that takes long."""
NOISY = 512
"""Images in a timed evaluation under noise."""
LONG = 1.0
"""Seconds after which a timing ends, whatever it has seen."""


def timed_rows(batch: int, widths: Iterable[int], weights: int) -> int:
    """Images in a timed update: the batch, unless it would take more than about a second, or much memory.

    >>> timed_rows(54_000, [10, 10, 10], 8_000), timed_rows(512, [4192, 4192, 10], 21_000_000)
    (54000, 512)
    >>> timed_rows(54_000, [4192, 4192, 10], 21_000_000)
    793
    """
    most = min(POOL, SPACE // (8 * sum(widths)), int(CALL / (6 * weights)))
    return min(batch, max(LEAST_ROWS, most))


class Machine:
    """This machine, one thread of it.

    Parameters
    ----------
    seconds
        For how long each kind of update is timed, besides the first.
    """

    def __init__(self, seconds: float = 0.15) -> None:
        from mlpaper.engine import backend

        self.seconds = seconds
        self.backend = backend.select("cpu")
        self._pool: tuple[str, np.ndarray, np.ndarray] = ("", np.empty(0), np.empty(0))
        self._shuffling: dict[int, float] = {}
        self._started: dict[str, tuple[float, float]] = {}
        self._warm: set[str] = set()

    def cost(self, probe: RunSpec) -> Cost:
        """See `Stopwatch`; the first run of an engine compiles it, or reads it from the cache, which does not count."""
        if probe.engine not in self._warm:
            self._warm.add(probe.engine)
            small = probe.network.model_copy(update={"hidden": (8,), "residual": 0})
            self.cost(probe.model_copy(update={"network": small, "batch_size": 16}))
        images, labels = self._images(probe.dataset.name)
        rows = self._rows(probe)
        index = np.random.default_rng(0).permutation(len(images))
        begun = time.process_time()
        trainer = self._trainer(probe, images, labels, rows)
        built = time.process_time() - begun

        def update(count: int, done: int) -> None:
            """So many updates at a learning rate of 0, on images that were not the last ones."""
            order = np.resize(np.roll(index, -done * rows), count * rows)
            trainer.updates(order, np.zeros(count), np.zeros(3))

        weights = trainer.network.parameters.layout.weight_size
        some = index[: max(LEAST_ROWS, min(EVALUATED, int(CALL / (8 * weights))))]
        return Cost(
            built,
            _seconds(update, self.seconds) / rows,
            _seconds(lambda count, done: [trainer.evaluate(some) for _ in range(count)], self.seconds / 4) / len(some),
        )

    def shuffling(self, count: int) -> float:
        """See `Stopwatch`."""
        from mlpaper.engine.random import permutation

        if count not in self._shuffling:
            self._shuffling[count] = _seconds(
                lambda times, done: [permutation(self.backend, count, 0, done) for _ in range(times)], self.seconds / 4
            )
        return self._shuffling[count]

    def noisy(self, probe: RunSpec, levels: int) -> float:
        """See `Stopwatch`."""
        from mlpaper.engine.batches import Batches
        from mlpaper.evaluate.robustness import robustness

        images, labels = self._images(probe.dataset.name)
        plain = probe.model_copy(update={"engine": "mlpaper"})
        network = self._trainer(plain, images, labels, LEAST_ROWS).network
        some, sigmas = np.arange(NOISY), [0.1] * levels
        pixels = Batches(self.backend, images, labels, InputSpec(), len(some))
        seconds = _seconds(
            lambda count, done: [robustness(network, pixels, probe.input, some, sigmas, 1) for _ in range(count)],
            self.seconds / 4,
        )
        return seconds / len(some)

    def job(self, engine: str) -> float:
        """See `Stopwatch`."""
        return self._jobs(engine)[0]

    def evaluation_job(self) -> float:
        """See `Stopwatch`."""
        return self._jobs("mlpaper")[1]

    def _rows(self, probe: RunSpec) -> int:
        widths = [PIXELS, *probe.network.hidden, len(get_source(probe.dataset.name).classes)]
        weights = sum(a * b for a, b in pairwise(widths))
        return timed_rows(int(probe.batch_size), widths[1:], weights)

    def _images(self, dataset: str) -> tuple[np.ndarray, np.ndarray]:
        if self._pool[0] != dataset:
            classes = len(get_source(dataset).classes)
            self._pool = (dataset, pretended(dataset, POOL), np.arange(POOL) % classes)
        return self._pool[1:]

    def _trainer(self, probe: RunSpec, images: np.ndarray, labels: np.ndarray, rows: int) -> Trainer:
        trainer: type[Trainer] = Trainer
        if probe.engine == "torch":
            from mlpaper.torch_twin import TorchTrainer as trainer
        spec = probe.model_copy(update={"batch_size": rows})
        everything = np.arange(len(images))
        return trainer(spec, self.backend, images, labels, everything, everything[:1], int(labels.max()) + 1)

    def _jobs(self, engine: str) -> tuple[float, float]:
        """Processor time of a training job and of an evaluation that have next to nothing to do, timed once."""
        if engine not in self._started:
            self._started[engine] = self._time_jobs(engine)
        return self._started[engine]

    def _time_jobs(self, engine: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            pool, split, run = folder / "pool", folder / "split.npz", folder / "run"
            spec = RunSpec(dataset=PoolSpec(name="digits"), epochs=1, engine=engine)
            _write_pool(pool, split)
            where = ("--pool", str(pool), "--split", str(split))
            train = ("--spec", spec.canonical(), "--folder", str(run), "--checkpoint", str(folder / "checkpoint.npz"))
            return _processor_time("train", *train, *where), _processor_time("evaluate", "--run", str(run), *where)


def _seconds(call: Callable[[int, int], Any], least: float) -> float:
    """Median seconds of `call`, which is given how often to do it and how often it was done before.

    The first call, which also touches memory for the first time, counts only for how long all of it may take.
    """
    first = _once(call, 1, 0)
    times, total, done = [], first, 1
    count = 1
    while True:
        each = _once(call, count, done) / count
        times.append(each)
        total, done = total + each * count, done + count
        if total >= least + first and (done > 3 or total >= LONG):
            return median(times)
        count = max(1, int(least / 5 / max(each, 1e-9)))


def _once(call: Callable[[int, int], Any], count: int, done: int) -> float:
    begun = time.process_time()
    call(count, done)
    return time.process_time() - begun


def _write_pool(pool: Path, split: Path) -> None:
    """A pool of a few made-up images, and a split of it."""
    from mlpaper.data.dataset import IMAGES, LABELS, META
    from mlpaper.data.split import Split
    from mlpaper.files import write_json, write_npy

    count = 300
    write_npy(pool / IMAGES, pretended("digits", count))
    write_npy(pool / LABELS, np.arange(count) % 10)
    classes = [str(digit) for digit in range(10)]
    write_json(pool / META, {"count": count, "shape": [SIDE, SIDE], "classes": classes, "parts": {}})
    Split(*np.arange(count).reshape(3, -1)).write(split)


def _processor_time(*arguments: str) -> float:
    """Seconds of the processor that a sub-command of `mlpaper` takes in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "mlpaper", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MlpaperError(f"a job of `mlpaper {arguments[0]}` failed while it was timed: {done.stderr.strip()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- the estimate


@dataclass(frozen=True)
class Forecast:
    """Seconds of one core for one run."""

    training: float
    """With the start of its job."""
    evaluation: float
    """On the test set, with the start of the job."""
    noise: float
    """The same under noise; 0 where its study does not ask for it."""
    at_most: bool
    """Whether training may end earlier."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.evaluation + self.noise


@dataclass(frozen=True)
class Estimate:
    """What a plan takes, run by run."""

    forecasts: dict[str, Forecast]
    """Of the runs that are to be made, by id."""
    done: frozenset[str]
    """Runs that are there, made by this code."""
    outdated: frozenset[str] = frozenset()
    """Runs that are there, but were made by other code: they are made again, and are among the forecasts."""
    untimed: frozenset[str] = frozenset()
    """Runs that this machine cannot time: PyTorch's, where it is not installed."""
    kinds: int = 0
    """How many kinds of updates were timed."""

    def seconds(self, runs: Iterable[str]) -> float:
        """Of all these runs that are to be made, on one core."""
        return sum(self.forecasts[run].seconds for run in set(runs) if run in self.forecasts)


def found(specs: Mapping[str, RunSpec], folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Ids of the runs under `folder` that are done, and of those that other code made."""
    done: set[str] = set()
    outdated: set[str] = set()
    for run, spec in specs.items():
        outcome = folder / run_folder(run) / "run.json"
        if outcome.exists():
            code = digest(*RULES["train" if spec.engine == "mlpaper" else "twin"])
            same = read_json(outcome).get("code_digest") == code
            (done if same else outdated).add(run)
    return frozenset(done), frozenset(outdated)


def estimate(
    plan: Plan,
    folder: Path,
    stopwatch: Stopwatch,
    torch: bool = True,
    watch: Callable[[list[RunSpec]], Iterable[RunSpec]] = iter,
) -> Estimate:
    """What is left of `plan` in the working `folder` takes.

    Parameters
    ----------
    torch
        Whether runs of PyTorch can be timed.
    watch
        Is given all that is to be timed, and hands it on one by one: for a progress bar.
    """
    done, outdated = found(plan.runs, folder)
    left = {run: spec for run, spec in plan.runs.items() if run not in done}
    untimed = frozenset(run for run, spec in left.items() if spec.engine == "torch" and not torch)
    probes = {run: probe(spec) for run, spec in left.items() if run not in untimed}
    kinds = {it.canonical(): it for it in sorted(probes.values(), key=lambda it: it.dataset.name)}
    noise = noise_levels(plan)
    levels = {probes[run].canonical(): len(noise[run]) for run in noise if run in probes}
    costs: dict[str, Cost] = {}
    noisy: dict[str, float] = {}
    for it in watch(list(kinds.values())):
        name = it.canonical()
        costs[name] = stopwatch.cost(it)
        if name in levels:
            noisy[name] = stopwatch.noisy(it, levels[name])
    forecasts = {}
    for run, kind in probes.items():
        name, seeds = kind.canonical(), plan.scale.noise_seeds if run in noise else 0
        forecasts[run] = forecast(left[run], costs[name], noisy.get(name, 0.0), seeds, stopwatch)
    return Estimate(forecasts, done, outdated, untimed, len(kinds))


def forecast(spec: RunSpec, cost: Cost, noisy: float, noise_seeds: int, stopwatch: Stopwatch) -> Forecast:
    """The time of one run, which is tested under noise so many times, at `noisy` seconds per image."""
    images, todo = sizes(spec), work(spec)
    epoch = stopwatch.shuffling(images.train) + images.validation * cost.evaluated
    training = todo.images * cost.image + todo.epochs * epoch + cost.build + stopwatch.job(spec.engine)
    evaluation = stopwatch.evaluation_job() + images.test * cost.evaluated
    noise = stopwatch.job("mlpaper") + images.test * noise_seeds * noisy if noise_seeds else 0.0
    return Forecast(training, evaluation, noise, todo.at_most)


def makespan(jobs: Iterable[float], cores: int) -> float:
    """Seconds until all `jobs` are done, where a free core takes the longest one that is left.

    >>> makespan([3, 3, 2, 2, 2], 2), makespan([10, 1, 1], 2)
    (7, 10)
    """
    busy: list[float] = [0] * cores
    for seconds in sorted(jobs, reverse=True):
        heapq.heapreplace(busy, busy[0] + seconds)
    return max(busy)


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


# --- what is printed

SHOWN = 3
"""Runs that a study's row names."""


def show(plan: Plan, found: Estimate, cores: int, console: Console) -> None:
    """Print a row per study, the total, and what is not in it."""
    from rich.table import Table

    table = Table(title=f"Training and evaluation at scale {plan.settings.scale}", title_justify="left")
    for heading in ("study", "runs", "done", "one core", "most expensive (all seeds)"):
        table.add_column(heading, justify="right" if heading in ("runs", "done", "one core") else "left")
    for study, names in plan.names.items():
        table.add_row(study, *_row(found, names))
    everything = {study: tuple(run for runs in names.values() for run in runs) for study, names in plan.names.items()}
    if len(plan.studies) > 1:
        table.add_section()
        _, *total = _row(found, everything)
        table.add_row("all", str(len(plan.runs)), *total[:-1], "")
    console.print(table)
    for line in notes(plan, found, cores):
        console.print(line, highlight=False)


def _row(found: Estimate, names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Cells of a study: how many runs, how many of them done, time of one core, and where most of it goes."""
    runs = {run for seeds in names.values() for run in seeds}
    by_name = {name: found.seconds(seeds) for name, seeds in names.items()}
    most = sorted((name for name in names if by_name[name] > 0), key=lambda name: -by_name[name])[:SHOWN]
    costly = ", ".join(f"{name} {mark(found, names[name])}{duration(by_name[name])}" for name in most)
    time_left = f"{mark(found, runs)}{duration(found.seconds(runs))}"
    return str(len(runs)), str(len(runs & found.done)), time_left, costly


def mark(found: Estimate, runs: Iterable[str]) -> str:
    """A sign where early stopping may end any of these runs before."""
    return "≤ " if any(found.forecasts[run].at_most for run in runs if run in found.forecasts) else ""


def notes(plan: Plan, found: Estimate, cores: int) -> list[str]:
    """The total in words, and what is not in it."""
    forecasts = found.forecasts
    lines = []
    if forecasts:
        total, longest = found.seconds(forecasts), max(forecasts, key=lambda run: forecasts[run].seconds)
        wall = makespan((it.seconds for it in forecasts.values()), cores)
        evaluation = sum(it.evaluation for it in forecasts.values())
        noise = sum(it.noise for it in forecasts.values())
        early = [it.training for it in forecasts.values() if it.at_most]
        lines.append(
            f"{_runs(len(forecasts))} to make: {mark(found, forecasts)}{duration(total)} of one core, "
            f"{duration(wall)} on {cores} core{'s' if cores > 1 else ''}. "
            f"The longest, {longest}, takes {duration(forecasts[longest].seconds)}: no number of cores is faster."
        )
        lines.append(
            f"In it: {duration(evaluation)} for the test sets, {duration(noise)} for noisy images. "
            f"{_runs(len(early))} ({duration(sum(early))}) may stop early: marked ≤."
        )
    else:
        lines.append("There is no run left to make.")
    if found.outdated:
        lines.append(f"{_runs(len(found.outdated))} in results/ were made by other code and are made again.")
    if found.untimed:
        lines.append(f"Not in it: {_runs(len(found.untimed))} by PyTorch, which is not installed here.")
    lines.append(
        f"Timed on this machine, {len(forecasts) and found.kinds} kinds of updates. Not in it: downloads, gradients, "
        "figures, tables and the paper (minutes), and what cores that share memory or a clock take from each other."
    )
    return lines


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits.

    >>> duration(0), duration(42.4), duration(600), duration(9000)
    ('0 s', '42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
