"""The plan: what the configuration asks for, expanded to runs, figures and tables. Reads files, computes nothing.

The whole grid is known from the configuration, so Snakemake needs no checkpoints.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from mlpaper.data.sources import get_source
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.spec import PARTS, PoolSpec, RunSpec, widths
from mlpaper.study import metrics, yaml_file
from mlpaper.study.citations import check_citations
from mlpaper.study.left_out import LeftOut, by_reason
from mlpaper.study.schema.items import FigureSpec, SweepFigure, TableSpec
from mlpaper.study.schema.rules import ClaimSpec, ValueClaim
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import RunEntry, Study, Sweep
from mlpaper.study.validate import validate

SPEC_DEFAULTS = RunSpec(dataset=PoolSpec(name="digits")).model_dump(mode="json", exclude={"dataset", "seed"})
"""What a run is where nobody says otherwise."""


@dataclass(frozen=True)
class Plan:
    """Everything that one configuration asks for."""

    settings: Settings
    scale: Scale
    studies: dict[str, Study]
    seeds: dict[str, tuple[int, ...]]
    """Study to the seeds of its runs; of a heavy run only the first."""
    specs: dict[str, dict[str, tuple[RunSpec, ...]]]
    """Study to run name to the specifications of its seeds, whether they are made or left out."""
    without_twin: str | None = None
    """Why runs of the engine `torch` are left out; None where they are made."""

    @cached_property
    def runs(self) -> dict[str, RunSpec]:
        """Every training run by its id; a run of two studies is there once."""
        return {spec.id: spec for study, run, spec in self._all() if self.why_absent(study, run) is None}

    @cached_property
    def left_out(self) -> dict[str, RunSpec]:
        """Every run that is left out, by its id. It is made only where it is asked for by its target."""
        return {spec.id: spec for _, _, spec in self._all() if spec.id not in self.runs}

    @cached_property
    def names(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Study to run name to the ids of its seeds; none for a run that is left out."""
        return {
            study: {
                run: () if self.why_absent(study, run) else tuple(spec.id for spec in seeds)
                for run, seeds in runs.items()
            }
            for study, runs in self.specs.items()
        }

    def why_absent(self, study: str, run: str) -> str | None:
        """Why a study's run is not made, or None."""
        if self.without_twin is not None and self.specs[study][run][0].engine == "torch":
            return self.without_twin
        if self.scale.heavy and self.settings.heavy == "none" and self.studies[study].runs[run].heavy:
            return "the configuration leaves heavy runs out"
        left_out = any(fnmatchcase(f"{study}.{run}", pattern) for pattern in self.settings.leave_out)
        return "the configuration leaves it out" if left_out else None

    def absent(self, study: str, runs: Iterable[str]) -> dict[str, LeftOut]:
        """Those of a study's runs that are left out, by name."""
        return {
            run: LeftOut(spec=self.specs[study][run][0], because=because)
            for run in runs
            if (because := self.why_absent(study, run)) is not None
        }

    def pool_runs(self, study: str) -> RunSpec:
        """A run that stands for its study's dataset and split: the first."""
        return next(iter(self.specs[study].values()))[0]

    def _all(self) -> Iterable[tuple[str, str, RunSpec]]:
        return (
            (study, run, spec) for study, runs in self.specs.items() for run, seeds in runs.items() for spec in seeds
        )


def load_plan(config: Mapping[str, Any], workflow: Path) -> Plan:
    """Validate `config` with the study and scale files under `workflow`, and expand it.

    Raises
    ------
    ConfigurationError
        Anything in the configuration or in the files is not as it must be.
    """
    settings = validate(Settings, dict(config), "config.yaml or --config")
    _check_mirror(settings.mirror)
    scale_file = _existing("scale", settings.scale, workflow / "scales")
    scale = validate(Scale, yaml_file.load(scale_file), str(scale_file), scale_file)
    available = sorted(path.stem for path in (workflow / "studies").glob("*.yaml"))
    wanted = tuple(available) if settings.studies == "all" else settings.studies
    seeds = {name: seeds_of(name, settings, scale) for name in wanted}
    _check_seeds(settings, wanted, available)
    studies: dict[str, Study] = {}
    specs: dict[str, dict[str, tuple[RunSpec, ...]]] = {}
    for name in wanted:
        path = _existing("study", name, workflow / "studies")
        studies[name] = load_study(path)
        specs[name] = expand(studies[name], path, settings, scale, seeds[name])
    _check_left_out(settings, studies)
    return Plan(settings, scale, studies, seeds, specs, why_without_twin(settings))


def seeds_of(study: str, settings: Settings, scale: Scale) -> tuple[int, ...]:
    """Seeds that the runs of a study are repeated over."""
    asked = settings.seeds.get(study, "auto") if isinstance(settings.seeds, dict) else settings.seeds
    return scale.seeds if isinstance(asked, str) else asked


def _check_seeds(settings: Settings, wanted: Iterable[str], available: Iterable[str]) -> None:
    for name in settings.seeds if isinstance(settings.seeds, dict) else ():
        if name not in {*wanted, *available}:
            raise ConfigurationError(
                f"config.yaml or --config: `seeds`: there is no study `{name}`{nearest(name, available)}"
            )


def _check_left_out(settings: Settings, studies: Mapping[str, Study]) -> None:
    """Every pattern of `leave_out` fits some run, or names a study that is not asked for."""
    names = [f"{name}.{run}" for name, study in studies.items() for run in study.runs]
    for pattern in settings.leave_out:
        asked_for = any(fnmatchcase(name, pattern.split(".")[0]) for name in studies)
        if asked_for and not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigurationError(
                f"config.yaml or --config: `leave_out`: no run is like `{pattern}`{nearest(pattern, names)}"
            )


def why_without_twin(settings: Settings) -> str | None:
    """Why runs of the engine `torch` are left out, or None: the one place that asks whether PyTorch is installed."""
    if settings.twin == "never":
        return "the configuration leaves PyTorch's runs out"
    if settings.twin == "always" or importlib.util.find_spec("torch") is not None:
        return None
    return "PyTorch is not installed"


def left_out_notice(plan: Plan) -> str | None:
    """What to tell the user about runs that are left out, and how to mend it; None where there are none."""
    if not plan.left_out:
        return None
    reasons = by_reason(
        (run, absent.because) for study, runs in plan.specs.items() for run, absent in plan.absent(study, runs).items()
    )
    listed = "; ".join(f"{because} ({runs})" for because, runs in reasons.items())
    notice = f"{len(plan.left_out)} of {len(plan.left_out) + len(plan.runs)} runs are left out: {listed}."
    if plan.without_twin in reasons and plan.settings.twin == "never":
        notice += " twin=auto makes PyTorch's where it is installed."
    elif plan.without_twin in reasons:
        notice += " `make twin` or `pip install torch` mends it; twin=always plans them for machines that have it."
    if plan.settings.heavy == "none":
        notice += " heavy=first makes the heavy ones with one seed."
    return notice


def load_study(path: Path) -> Study:
    """The study in a file, with every reference to a run checked."""
    values = yaml_file.load(path)
    study = validate(Study, values, str(path), path)
    study = with_sweeps(study, path, first=next((key for key in values if key in ("runs", "sweeps")), "runs"))
    if study.name != path.stem:
        raise ConfigurationError(f"{path}: `name`: must be `{path.stem}`, the file's name, not `{study.name}`")
    validate(RunSpec, study.defaults, str(path), path, ("defaults",))
    study = _resolved(study, path)
    for number, item in enumerate(study.figures + study.tables):
        kind = "figures" if number < len(study.figures) else "tables"
        for run in referenced(item):
            _check_run(study, run, path, f"{kind}: `{item.name}`")
    for claim in study.claims:
        _check_claim(study, claim, path)
    for run, entry in study.runs.items():
        if entry.reproduces is not None:
            _check_run(study, entry.reproduces, path, f"`runs.{run}.reproduces`")
    for number, difference in enumerate(study.differences):
        for run in difference.runs:
            _check_run(study, run, path, f"differences.{number}")
    check_citations(study, path)
    for key in study.published:
        _check_run(study, key.split(".", 1)[0], path, f"published: `{key}`")
    return study


def _resolved(study: Study, path: Path) -> Study:
    """The study with the runs that patterns and sweeps stand for in its figures, tables and claims."""

    def runs(patterns: Iterable[str], where: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for pattern in patterns:
            matching = [run for run in study.runs if fnmatchcase(run, pattern)] if "*" in pattern else [pattern]
            if not matching:
                raise ConfigurationError(f"{path}: {where}: no run of this study is like `{pattern}`")
            found |= dict.fromkeys(matching)
        return tuple(found)

    def resolved(entry: Any, where: str) -> Any:
        if isinstance(entry, SweepFigure):
            return entry.model_copy(update={"runs": tuple(_swept_runs(study, entry.sweeps, path, where))})
        patterns = {name: getattr(entry, name, None) for name in ("runs", "best", "wide", "narrow")}
        return entry.model_copy(update={name: runs(value, where) for name, value in patterns.items() if value})

    return study.model_copy(
        update={
            "figures": tuple(resolved(figure, f"figures: `{figure.name}`") for figure in study.figures),
            "tables": tuple(resolved(table, f"tables: `{table.name}`") for table in study.tables),
            "claims": tuple(resolved(claim, f"claims: `{claim.id}`") for claim in study.claims),
        }
    )


def _swept_runs(study: Study, sweeps: Iterable[str], path: Path, where: str) -> Iterable[str]:
    for name in sweeps:
        if name not in study.sweeps:
            raise ConfigurationError(f"{path}: {where}: there is no sweep `{name}`{nearest(name, study.sweeps)}")
        yield from (study.sweeps[name].run(name, point) for point in study.sweeps[name].points)


def measured_files(entry: RunEntry) -> tuple[str, ...]:
    """What is measured of a run besides what is measured of all, by the names of the files."""
    return tuple(name for name, asked in (("robustness", entry.noise), ("gradients", entry.gradients)) if asked)


def _check_claim(study: Study, claim: ClaimSpec, path: Path) -> None:
    """The runs of a claim exist, its metrics are measured of them, and a value has something to be compared with."""
    where = f"claims: `{claim.id}`"
    for run in claim.named_runs:
        _check_run(study, run, path, where)
        for metric in claim.metric_names:
            file = metrics.get(metric).file
            if file in ("robustness", "gradients") and file not in measured_files(study.runs[run]):
                flag = {"robustness": "noise", "gradients": "gradients"}[file]
                raise ConfigurationError(
                    f"{path}: {where}: `{metric}` of `{run}` is not measured; it needs `{flag}: true`"
                )
    key = f"{claim.run}.{claim.metric}" if isinstance(claim, ValueClaim) and claim.published is None else None
    if key is not None and key not in published(study, [key.split(".")[0]]):
        raise ConfigurationError(f"{path}: {where}: needs `published`, or `{key}` among the published values")


def noise_levels(plan: Plan) -> dict[str, tuple[float, ...]]:
    """Standard deviations of the noise for every run that any study tests under noise."""
    levels: dict[str, set[float]] = {}
    for study in plan.studies.values():
        for name in (name for name, entry in study.runs.items() if entry.noise):
            for run in plan.names[study.name][name]:
                levels.setdefault(run, set()).update(study.noise.sigmas)
    return {run: tuple(sorted(sigmas)) for run, sigmas in levels.items()}


def referenced(item: FigureSpec | TableSpec) -> tuple[str, ...]:
    """Names of the runs that a figure or table shows; the baseline counts."""
    runs = tuple(getattr(item, "runs", ()))
    return runs + tuple(
        run for attribute in ("run", "baseline") if (run := getattr(item, attribute, None)) and run not in runs
    )


def published(study: Study, runs: Iterable[str]) -> dict[str, float]:
    """Published values of `runs`, by `<run>.<metric>`; a run that reproduces another has that one's."""
    values = {}
    for run in runs:
        source = study.runs[run].reproduces or run
        for key, value in study.published.items():
            name, metric = key.split(".", 1)
            if name == source:
                values[f"{run}.{metric}"] = value
    return values


def expand(
    study: Study, path: Path, settings: Settings, scale: Scale, seeds: tuple[int, ...]
) -> dict[str, tuple[RunSpec, ...]]:
    """Every run of a study at a scale: its name to its specifications, one per seed."""
    expanded = {}
    for name, entry in study.runs.items():
        values = at_scale(_values(study, name, path), settings, scale)
        few = entry.heavy and scale.heavy and settings.heavy != "all"
        prefix = _keys(study, name)
        expanded[name] = tuple(
            validate(RunSpec, values | {"seed": seed}, str(path), path, prefix) for seed in seeds[: 1 if few else None]
        )
    return expanded


def with_sweeps(study: Study, path: Path, first: str = "runs") -> Study:
    """The study with a run for every point of its sweeps, and with sweeps over another's points completed.

    `first` is what comes first in the file, and so in tables of all runs: `runs` or `sweeps`.
    """
    runs, sweeps = dict(study.runs), dict(study.sweeps)
    for name, sweep in study.sweeps.items():
        like = sweeps.get(sweep.based_on or "")
        if like is not None:
            inherited = {key: getattr(like, key) for key in ("points", "vary", "logarithmic")}
            sweep = sweep.model_copy(update=inherited | {"label": sweep.label or like.label})
        if not sweep.points or not sweep.vary:
            raise ConfigurationError(
                f"{path}: `sweeps.{name}`: needs `vary` and `points`, or a sweep before it as `based_on`"
            )
        if unknown := sweep.heavy.keys() - sweep.points.keys():
            raise ConfigurationError(f"{path}: `sweeps.{name}.heavy`: {', '.join(sorted(unknown))} is no point of it")
        sweeps[name] = sweep
        for point in sweep.points:
            run = sweep.run(name, point)
            if run in runs:
                raise ConfigurationError(f"{path}: `sweeps.{name}`: there is already a run `{run}`")
            base = like.run(str(sweep.based_on), point) if like is not None else sweep.based_on
            runs[run] = _swept(sweep, point, base, varied=like is None)
    if not runs:
        raise ConfigurationError(f"{path}: has neither `runs` nor `sweeps`")
    if first == "sweeps":
        runs = {run: entry for run, entry in runs.items() if run not in study.runs} | study.runs
    return study.model_copy(update={"runs": runs, "sweeps": sweeps})


def _swept(sweep: Sweep, point: str, base: str | None, varied: bool) -> RunEntry:
    changes: dict[str, Any] = dict(sweep.changes)
    if varied:
        value: Any = sweep.points[point]
        for key in reversed(sweep.vary.split(".")):
            value = {key: value}
        changes = merge(changes, value)
    return RunEntry(
        description=sweep.description.replace("{}", point),
        based_on=base,
        changes=changes,
        noise=sweep.noise,
        gradients=sweep.gradients,
        heavy=sweep.heavy.get(point),
    )


def _keys(study: Study, run: str) -> tuple[str, str, str]:
    """Where in its file a run's changes stand."""
    for name, sweep in study.sweeps.items():
        if any(sweep.run(name, point) == run for point in sweep.points):
            return ("sweeps", name, "changes")
    return ("runs", run, "changes")


def _values(study: Study, name: str, path: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Plain values of a run: defaults of `RunSpec`, of the study, what its base changes, then its own changes."""
    if name in seen:
        raise ConfigurationError(f"{path}: `runs.{name}.based_on`: {' -> '.join((*seen, name))} is a circle")
    entry = study.runs[name]
    if entry.based_on is None:
        base = merge(SPEC_DEFAULTS, study.defaults)
    else:
        _check_run(study, entry.based_on, path, f"`runs.{name}.based_on`")
        base = _values(study, entry.based_on, path, (*seen, name))
    return merge(base, entry.changes)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`: a mapping changes only the keys that it names, unless it names another kind of thing.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    >>> merge({"optimizer": {"name": "adam", "beta1": 0.9}}, {"optimizer": {"name": "sgd"}})
    {'optimizer': {'name': 'sgd'}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other_kind = any(tag in value and value[tag] != old.get(tag) for tag in ("name", "scheme"))
            merged[key] = dict(value) if other_kind else merge(old, value)
        else:
            merged[key] = value
    return merged


def at_scale(values: dict[str, Any], settings: Settings, scale: Scale) -> dict[str, Any]:
    """The plain values of a run, as the settings and the scale change them."""
    changed: dict[str, Any] = {}
    dataset = dict(values.get("dataset", {}))
    if scale.dataset is not None:
        dataset = {"name": scale.dataset}
    elif str(dataset.get("name", "")).startswith("emnist"):
        dataset["parts"] = settings.emnist_parts
    changed["dataset"] = dataset
    split = dict(values["split"])
    if not (scale.withhold and tuple(dataset.get("parts", PARTS)) == PARTS):
        split.pop("withhold_per_class", None)
    if scale.dataset is not None:
        split |= _in_proportion(split, str(values["dataset"]["name"]), scale.dataset)
    changed["split"] = split
    if scale.epochs_divisor > 1:
        changed["epochs"] = max(2, math.ceil(values["epochs"] / scale.epochs_divisor))
        if isinstance(values["updates"], int):
            changed["updates"] = max(2, math.ceil(values["updates"] / scale.epochs_divisor))
    if scale.max_batch_size is not None and isinstance(values["batch_size"], int):
        changed["batch_size"] = min(values["batch_size"], scale.max_batch_size)
    if scale.max_width is not None and isinstance(hidden := widths(values["network"]["hidden"]), list):
        narrow = [min(width, scale.max_width) for width in hidden]
        changed["network"] = values["network"] | {"hidden": narrow}
    return values | changed


def _in_proportion(split: Mapping[str, Any], dataset: str, other: str) -> dict[str, Any]:
    """Numbers of training images that a split names, for a dataset of another size.

    >>> _in_proportion({"scheme": "official", "validation": 5000, "subset": 6000, "seed": 0}, "mnist", "digits")
    {'validation': 120, 'subset': 144}
    """
    ratio = get_source(other).parts["train"].count / get_source(dataset).parts["train"].count
    counted = {key: split.get(key) for key in ("validation", "subset")}
    return {key: max(1, round(ratio * count)) for key, count in counted.items() if isinstance(count, int)}


def _check_run(study: Study, run: str, path: Path, where: str) -> None:
    if run not in study.runs:
        raise ConfigurationError(f"{path}: {where}: there is no run `{run}` in this study{nearest(run, study.runs)}")


def _check_mirror(mirror: str | None) -> None:
    """A local mirror must be a folder; what it holds is checked when it is used."""
    if mirror is not None and "://" not in mirror and not Path(mirror).expanduser().is_dir():
        raise ConfigurationError(
            f"config.yaml or --config: `mirror`: there is no folder {mirror}; it holds <dataset>/<file>, or is a URL"
        )


def _existing(kind: str, name: str, folder: Path) -> Path:
    available = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in available:
        key = "studies" if kind == "study" else kind
        raise ConfigurationError(
            f"config.yaml or --config: `{key}`: there is no {kind} `{name}`{nearest(name, available)}; "
            f"{folder} has {', '.join(available)}"
        )
    return folder / f"{name}.yaml"
