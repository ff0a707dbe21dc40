"""How long a plan takes, told before it starts, in seconds of one core:

training   = start + updates * update + epochs * validation images * image
test       = start + test images * image; under noise, times the levels and the noise seeds
other jobs = start, timed for figures and for all others
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from mlpaper import paths
from mlpaper.data.sources import Source
from mlpaper.data.split import make_split
from mlpaper.digest import RULES, digest
from mlpaper.errors import ConfigurationError
from mlpaper.files import read_json
from mlpaper.spec import PoolSpec, RunSpec, SplitSpec
from mlpaper.study import timing
from mlpaper.study.plan import Plan, measured_files, noise_levels
from mlpaper.study.yaml_file import load, parse


def configuration(file: Path, changes: Iterable[str]) -> dict[str, Any]:
    """The keys of the configuration `file`, with the `changes`: ``key=value``, the value in YAML.

    As in Snakemake, a mapping changes only the keys that it names.
    """
    config = load(file)
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigurationError(f"--config: `{change}` is not KEY=VALUE, such as scale=demo or seeds='[0]'")
        value = parse(text, f"--config: `{change}`")
        old = config.get(key)
        config[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return config


@cache
def sizes(source: Source, pool: PoolSpec, split: SplitSpec) -> tuple[int, int, int]:
    """Images to train, validate and test on, to within one per class: here, classes have equally many."""
    counts = source.counts(pool.parts)
    ends = [0, *accumulate(counts.values())]
    ranges: dict[str, tuple[int, int]] = dict(zip(counts, pairwise(ends), strict=True))
    made = make_split(np.arange(ends[-1]) % len(source.classes), split, ranges, source.classes)
    return len(made.train), len(made.validation), len(made.test)


def run_seconds(spec: RunSpec, source: Source, noisy: int, measured: int, share: float) -> tuple[float, float, float]:
    """Of one core, to train a run and evaluate it: if it stops as early as it may, after this share, or not early.

    `noisy` is how often it is tested under noise, `measured` the number of its jobs besides training and evaluation.
    """
    train, validation, test = sizes(source, spec.dataset, spec.split)
    batch = spec.batch_of(train)
    epochs = min(spec.epochs, spec.updates / math.ceil(train / batch)) if spec.updates else spec.epochs
    cost, start = timing.cost(spec, batch, source), timing.job("train" if spec.engine == "mlpaper" else "train-torch")
    training = epochs * (math.ceil(train / batch) * cost.update + validation * cost.validation)
    rest = start + (1 + measured) * timing.job("other") + (1 + noisy) * test * cost.test
    if spec.early_stopping is None:
        return (rest + training,) * 3
    least = min(1.0, (spec.early_stopping.patience + 1) / spec.epochs)
    return rest + least * training, rest + share * training, rest + training


@dataclass
class Estimate:
    """What is left of a plan: the `run_seconds` of runs to make, and those of figures, tables and claims by study.

    Runs that are `outdated` were made by other code and are made again; `untimed` are PyTorch's where it is missing.
    """

    runs: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    items: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    untimed: set[str] = field(default_factory=set)

    def words(self, runs: Iterable[str], items: Iterable[str] = (), cores: int = 1) -> str:
        """How long these runs, each once, and these items take; no number of cores is faster than the longest run."""
        left, rest = set(runs) & self.runs.keys(), sum(self.items.get(it, 0.0) for it in items)
        columns = zip((0.0, 0.0, 0.0), *(self.runs[run] for run in left), strict=True)
        least, about, most = (max((sum(each) + rest) / cores, *each) for each in columns)
        if about < 0.95 * most:
            return f"about {duration(about)}, at most {duration(most)}"
        return f"{'at most' if least < 0.9 * most else 'about'} {duration(most)}"


def estimate(plan: Plan, folder: Path, watch: Callable[[list[str]], Iterable[str]] = iter) -> Estimate:
    """What is left of `plan` in the working `folder`; `watch` hands on the runs to make one by one (a progress bar)."""
    found, noise, shares = Estimate(), noise_levels(plan), defaultdict[str, list[float]](list)
    place = {run: (study, name) for study, names in plan.names.items() for name in names for run in names[name]}
    for run, spec in plan.runs.items():
        if (outcome := folder / paths.run_folder(run) / "run.json").exists():
            values, code = read_json(outcome), digest(*RULES["train" if spec.engine == "mlpaper" else "twin"])
            (found.done if values["code_digest"] == code else found.outdated).add(run)
            if spec.early_stopping:
                shares[place[run][0]].append(values["epochs"] / spec.epochs)
    for run in watch([run for run in plan.runs if run not in found.done]):
        spec, (study, name) = plan.runs[run], place[run]
        if spec.engine == "torch" and find_spec("torch") is None:
            found.untimed.add(run)
            continue
        noisy, others = len(noise.get(run, ())), len(measured_files(plan.studies[study].runs[name]))
        source, share = plan.datasets[spec.dataset.name], mean(shares[study] or [1.0])
        found.runs[run] = run_seconds(spec, source, noisy * plan.scale.noise_seeds, others, share)
    for name, it in plan.studies.items():
        new = any(run not in found.done for runs in plan.names[name].values() for run in runs)
        if new or not (folder / paths.study_claims(name)).exists():
            others = len(it.all_tables) + 2  # the table of metrics, the claims
            found.items[name] = len(it.figures) * timing.job("figure") + others * timing.job("other")
    if found.items:  # the paper in four formats; its numbers, the ledger of all claims
        found.items["paper"] = 6 * timing.job("other")
    return found


def lines(plan: Plan, found: Estimate, cores: int) -> Iterable[str]:
    """The estimate in words: a line per study, the sum, the longest runs, and what is not counted."""
    yield f"Time left at scale {plan.settings.scale}, on one core of this machine:"
    names = {f"{study}.{name}": runs for study, of in plan.names.items() for name, runs in of.items()}
    for study, of in plan.names.items():
        runs = {run for seeds in of.values() for run in seeds}
        yield f"  {study:<24} {len(runs):4} runs, {len(runs & found.done):4} done: {found.words(runs, [study])}"
    yield f"  {'all':<24} {len(plan.runs):4} runs, {len(found.done):4} done: {found.words(plan.runs, found.items)}"
    yield f"With --cores {cores}: {found.words(plan.runs, found.items, cores)}."
    most = {name: sum(found.runs[run][-1] for run in runs if run in found.runs) for name, runs in names.items()}
    longest = [name for name in sorted(most, key=lambda name: -most[name])[:3] if most[name]]
    yield "Longest, with all seeds: " + ("; ".join(f"{name} {found.words(names[name])}" for name in longest) or "none")
    if found.outdated:
        yield f"Runs in results/ that other code made, and that are made again: {len(found.outdated)}."
    twin = f"{len(found.untimed)} runs by PyTorch, which is not installed here; " if found.untimed else ""
    yield f"Not counted: {twin}downloads; the gain by a GPU; the time that programs on one processor cost each other."


def duration(seconds: float) -> str:
    """Seconds in the unit that fits.

    >>> duration(0), duration(42.4), duration(600), duration(9000)
    ('0 s', '42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
