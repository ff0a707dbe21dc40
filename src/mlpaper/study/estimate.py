"""How long a plan will take, told before it is started: every kind of training step is timed for a moment.

Runs that cost the same per update are timed once (`mlpaper.study.timing`), by the trainer that would train them, on
made-up images: no dataset needs to be there. One thread is assumed, as in the pipeline. A run's time is then

    images trained on * time per image + epochs * (shuffling + validation images * time per image) + start-up,

which is the most it can take where early stopping may end it. Evaluating it on the test set, and on noisy images
where its study asks for that, is added.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpaper.data.sources import get_source
from mlpaper.digest import RULES, digest
from mlpaper.errors import ConfigurationError
from mlpaper.files import read_json
from mlpaper.paths import run_folder
from mlpaper.spec import SGD, Adam, ConstantSchedule, CrossEntropySpec, DecaySpec, PoolSpec, RunSpec
from mlpaper.study.plan import Plan, noise_levels
from mlpaper.study.timing import Cost, Stopwatch
from mlpaper.study.yaml_file import load, parse

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
        config[key] = parse(text, f"--config: `{change}`")
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
