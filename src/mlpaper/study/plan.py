"""The plan: what the configuration asks for, expanded to runs, figures and tables. Reads files, computes nothing.

The whole grid is known from the configuration, so Snakemake needs no checkpoints.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from mlpaper.data.catalog import FOLDER, Catalog
from mlpaper.data.local import check_local, not_provided
from mlpaper.data.mirror import check_mirror
from mlpaper.data.sources import Source
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.spec import RunSpec
from mlpaper.study import metrics, yaml_file
from mlpaper.study.citations import check_citations
from mlpaper.study.expansion import expand, with_all_runs
from mlpaper.study.left_out import LeftOut, by_reason
from mlpaper.study.rules import ClaimSpec, ValueClaim
from mlpaper.study.schema.items import FigureSpec, StepLossFigure, SweepFigure, TableSpec
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import RunEntry, Study
from mlpaper.study.seeding import check_names, seeds_of
from mlpaper.study.validate import Configuration, Keys, Origin, file, validate

DATA_NOT_PROVIDED = "data not provided"


@dataclass(frozen=True)
class Plan:
    """Everything that one configuration asks for."""

    settings: Settings
    scale: Scale
    studies: dict[str, Study]
    specs: dict[str, dict[str, tuple[RunSpec, ...]]]
    """Study to run name to the specifications of its seeds, whether they are made or left out."""
    datasets: dict[str, Source]
    """The datasets of the runs, by name."""
    written: dict[str, dict[str, RunSpec]] = field(default_factory=dict)
    """Study to the runs that the scale or the configuration changes, as the study writes them."""
    without_twin: str | None = None
    """Why runs of the engine `torch` are left out; None where they are made."""
    without_data: Mapping[str, str] = field(default_factory=dict)
    """Datasets whose files their user has not brought, with how to get them; runs on them are left out."""

    @cached_property
    def runs(self) -> dict[str, RunSpec]:
        """Every training run by its id; a run of two studies is there once."""
        return {spec.id: spec for study, run, spec in self._all() if self.why_absent(study, run) is None}

    @cached_property
    def seeds(self) -> dict[str, tuple[int, ...]]:
        """Study to the seeds of its runs; not every run has all of them."""
        return {
            study: tuple(dict.fromkeys(spec.seed for specs in runs.values() for spec in specs))
            for study, runs in self.specs.items()
        }

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
        if self.specs[study][run][0].dataset.name in self.without_data:
            return DATA_NOT_PROVIDED
        if self.without_twin is not None and self.specs[study][run][0].engine == "torch":
            return self.without_twin
        if self.scale.heavy and self.settings.heavy == "none" and self.studies[study].runs[run].heavy:
            return "the configuration leaves heavy runs out"
        left_out = any(fnmatchcase(f"{study}.{run}", pattern) for pattern in self.settings.leave_out)
        return "the configuration leaves it out" if left_out else None

    def not_comparable(self, study: str, run: str, parameters: bool = False) -> str:
        """Why a published value cannot be compared with a run's, in words; empty where it can.

        A number of `parameters` depends on the network and the classes alone.
        """
        ours = self.specs[study][run][0]
        written = self.written[study].get(run, ours)
        source = self.datasets[ours.dataset.name]
        if written.dataset.name != ours.dataset.name:
            return f"the published value is not of {source.in_sentences or source.title}"
        if parameters:
            return "" if written.network == ours.network else "the network is another at this scale"
        if (other := self.studies[study].published_on) is not None:
            return f"the published value is of {other}"
        if written.dataset != ours.dataset:
            return f"the published value is of all of {source.title}"
        return "" if run not in self.written[study] else "the settings are others at this scale"

    def absent(self, study: str, runs: Iterable[str]) -> dict[str, LeftOut]:
        """Those of a study's runs that are left out, by name."""
        return {
            run: LeftOut(spec=self.specs[study][run][0], because=because)
            for run in runs
            if (because := self.why_absent(study, run)) is not None
        }

    def pool_runs(self, study: str) -> RunSpec:
        """A run that stands for its study's dataset and split: the first, or the first whose data are there."""
        runs = [seeds[0] for seeds in self.specs[study].values()]
        return next((spec for spec in runs if spec.dataset.name not in self.without_data), runs[0])

    def _all(self) -> Iterable[tuple[str, str, RunSpec]]:
        return (
            (study, run, spec) for study, runs in self.specs.items() for run, seeds in runs.items() for spec in seeds
        )


def load_plan(
    config: Mapping[str, Any],
    workflow: Path,
    configfiles: Iterable[str | Path] = (),
    name: str = "config.yaml or --config",
) -> Plan:
    """Validate `config` with the study and scale files under `workflow`, and expand it.

    `configfiles` are what `config` was read from, the first that has a key counts: they are checked, and errors name
    their lines. Without such files errors call the configuration by its `name`.

    Raises
    ------
    ConfigurationError
        Anything in the configuration or in the files is not as it must be.
    """
    origin = Configuration(name, files=tuple(map(Path, configfiles)))
    for path in origin.files:
        yaml_file.load(path)
    settings = validate(Settings, dict(config), origin)
    scale_file = _existing("scale", settings.scale, workflow / "scales", origin)
    scale = validate(Scale, yaml_file.load(scale_file), file(scale_file))
    available = sorted(path.stem for path in (workflow / "studies").glob("*.yaml"))
    datasets = Catalog(workflow / FOLDER)
    if scale.dataset is not None and scale.dataset not in datasets:
        raise file(scale_file).error(("dataset",), datasets.unknown(scale.dataset))
    wanted = _wanted(settings, workflow / "studies", available, origin)
    studies: dict[str, Study] = {}
    specs: dict[str, dict[str, tuple[RunSpec, ...]]] = {}
    written: dict[str, dict[str, RunSpec]] = {}
    for name in wanted:
        path = workflow / "studies" / f"{name}.yaml"
        studies[name] = load_study(path, wanted[name])
        seeds = seeds_of(studies[name], settings, scale, origin)
        specs[name], written[name] = expand(studies[name], file(path), settings, scale, seeds, origin, datasets)
        _check_steps(studies[name], specs[name], file(path))
    check_names(settings, studies, available, origin)
    _check_left_out(settings, studies, origin)
    pools = dict.fromkeys(spec.dataset for runs in specs.values() for spec, *_ in runs.values())
    used = {pool.name: datasets[pool.name] for pool in pools}
    with_sources = [(pool, used[pool.name]) for pool in pools]
    check_mirror(settings.mirror, "config.yaml or --config: `mirror`", with_sources)
    check_local(used.values())
    without = {name: how for name, source in used.items() if (how := not_provided(source)) is not None}
    return Plan(settings, scale, studies, specs, used, written, why_without_twin(settings), without)


def _wanted(settings: Settings, folder: Path, available: Sequence[str], origin: Origin) -> dict[str, dict[str, Any]]:
    """The studies that the settings ask for: their names and what their files hold."""
    if isinstance(settings.studies, tuple):
        return {name: yaml_file.load(_existing("study", name, folder, origin)) for name in settings.studies}
    if not available:
        raise ConfigurationError(f"{folder} has no study (*.yaml); `mlpaper new study NAME` writes one")
    extra = settings.studies == "extra"
    studies = {name: yaml_file.load(folder / f"{name}.yaml") for name in available}
    wanted = {name: values for name, values in studies.items() if (values.get("extra") is True) == extra}
    if not wanted:
        which, other = ("no", "all") if extra else ("only", "extra")
        raise ConfigurationError(
            f"{folder} has {which} studies with `extra: true`; `studies: {other}` makes what it has"
        )
    return wanted


def _check_left_out(settings: Settings, studies: Mapping[str, Study], origin: Origin) -> None:
    """Every pattern of `leave_out` fits some run, or names a study that is not asked for."""
    names = [f"{name}.{run}" for name, study in studies.items() for run in study.runs]
    for pattern in settings.leave_out:
        asked_for = any(fnmatchcase(name, pattern.split(".")[0]) for name in studies)
        if asked_for and not any(fnmatchcase(name, pattern) for name in names):
            raise origin.error(("leave_out",), f"no run is like `{pattern}`{nearest(pattern, names)}")


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
    for how in plan.without_data.values():
        notice += f" {how}"
    if plan.settings.heavy == "none":
        notice += " heavy=first makes the heavy ones with one seed."
    return notice


def load_study(path: Path, values: Mapping[str, Any] | None = None) -> Study:
    """The study in a file, with every reference to a run checked; `values` is what the file holds, if it was read."""
    origin, values = file(path), yaml_file.load(path) if values is None else values
    study = validate(Study, values, origin)
    if study.name != path.stem:
        raise origin.error(("name",), f"must be `{path.stem}`, the file's name, not `{study.name}`")
    study = with_all_runs(study, origin, values)
    validate(RunSpec, study.defaults, origin, lambda problem: ("defaults", *problem.keys))
    study = _resolved(study, origin)
    for where, item in _items(study):
        for run in referenced(item):
            _check_shown(study, item, run, origin, where)
    for number, claim in enumerate(study.claims):
        _check_claim(study, claim, origin, ("claims", number))
    for run, entry in study.runs.items():
        for key in ("reproduces", "epochs_for_rates_of"):
            if (other := getattr(entry, key)) is not None:
                _check_run(study, other, origin, ("runs", run, key))
    for number, difference in enumerate(study.differences):
        for run in difference.runs:
            _check_run(study, run, origin, ("differences", number, "runs"))
    check_citations(study, origin, path.parents[2] / "report" / "references.bib")
    for key in study.published:
        _check_run(study, key.split(".", 1)[0], origin, ("published", key), f"published: `{key}`")
    return study


def _items(study: Study) -> Iterable[tuple[tuple[str, int], FigureSpec | TableSpec]]:
    """Figures and tables of a study, with their keys in its file."""
    yield from ((("figures", number), figure) for number, figure in enumerate(study.figures))
    yield from ((("tables", number), table) for number, table in enumerate(study.tables))


def _resolved(study: Study, origin: Origin) -> Study:
    """The study with the runs that patterns and sweeps stand for in its figures, tables and claims."""

    def runs(patterns: Iterable[str], keys: Keys, label: str) -> tuple[str, ...]:
        try:
            return runs_like(patterns, study.runs)
        except LookupError as error:
            raise origin.error(keys, f"no run of this study is like `{error.args[0]}`", label) from None

    def resolved(entry: Any, number: int, kind: str) -> Any:
        label = f"{kind}: `{entry.id if kind == 'claims' else entry.name}`"
        if isinstance(entry, SweepFigure):
            swept = _swept_runs(study, entry.sweeps, origin, (kind, number, "sweeps"), label)
            return entry.model_copy(update={"runs": tuple(swept)})
        patterns = {name: getattr(entry, name, None) for name in PATTERNS}
        update = {name: runs(value, (kind, number, name), label) for name, value in patterns.items() if value}
        return entry.model_copy(update=update)

    return study.model_copy(
        update={
            kind: tuple(resolved(entry, number, kind) for number, entry in enumerate(getattr(study, kind)))
            for kind in ("figures", "tables", "claims")
        }
    )


PATTERNS = ("runs", "best", "wide", "narrow")
"""Fields of figures, tables and claims that may name runs by patterns."""


def runs_like(patterns: Iterable[str], available: Iterable[str]) -> tuple[str, ...]:
    """The runs that names and patterns stand for; a name without `*` stands for itself.

    Raises
    ------
    LookupError
        No run is like a pattern, which is the argument.

    >>> runs_like(["width-*", "M1"], ["M1", "M2", "width-2", "width-4"])
    ('width-2', 'width-4', 'M1')
    """
    available, found = list(available), dict[str, None]()
    for pattern in patterns:
        matching = [run for run in available if fnmatchcase(run, pattern)] if "*" in pattern else [pattern]
        if not matching:
            raise LookupError(pattern)
        found |= dict.fromkeys(matching)
    return tuple(found)


def _swept_runs(study: Study, sweeps: Iterable[str], origin: Origin, keys: Keys, label: str) -> Iterable[str]:
    for name in sweeps:
        if name not in study.sweeps:
            raise origin.error(keys, f"there is no sweep `{name}`{nearest(name, study.sweeps)}", label)
        yield from (study.sweeps[name].run(name, point) for point in study.sweeps[name].points)


def measured_files(entry: RunEntry) -> tuple[str, ...]:
    """What is measured of a run besides what is measured of all, by the names of the files."""
    return tuple(name for name, asked in (("robustness", entry.noise), ("gradients", entry.gradients)) if asked)


def _check_shown(study: Study, item: FigureSpec | TableSpec, run: str, origin: Origin, keys: Keys) -> None:
    """A run that a figure or table shows exists, and is tested under noise where that is what is shown."""
    label = f"{keys[0]}: `{item.name}`"
    _check_run(study, run, origin, keys, label)
    if "robustness.parquet" in item.files and not study.runs[run].noise:
        raise origin.error(keys, f"`{run}` is not tested under noise; it needs `noise: true`", label)


def _check_steps(study: Study, specs: Mapping[str, tuple[RunSpec, ...]], origin: Origin) -> None:
    """A run whose updates are shown records them."""
    for number, figure in enumerate(study.figures):
        if isinstance(figure, StepLossFigure) and not specs[figure.run][0].record_steps:
            text = f"`{figure.run}` does not record its updates; it needs `record_steps: true` among its `changes`"
            raise origin.error(("figures", number, "run"), text, f"figures: `{figure.name}`")


def _check_claim(study: Study, claim: ClaimSpec, origin: Origin, keys: Keys) -> None:
    """The runs of a claim exist, its metrics are measured of them, and a value has something to be compared with."""
    label = f"claims: `{claim.id}`"
    for run in claim.named_runs:
        _check_run(study, run, origin, keys, label)
        for metric in claim.metric_names:
            measured = metrics.get(metric).file
            if measured in ("robustness", "gradients") and measured not in measured_files(study.runs[run]):
                flag = {"robustness": "noise", "gradients": "gradients"}[measured]
                text = f"`{metric}` of `{run}` is not measured; it needs `{flag}: true`"
                raise origin.error((*keys, "metric"), text, label)
            if measured == "robustness" and not metrics.at_levels(metric, study.noise.sigmas):
                text = f"`{metric}` is not measured: `noise.sigmas` of this study are {list(study.noise.sigmas)}"
                raise origin.error((*keys, "metric"), text, label)
    if isinstance(claim, ValueClaim) and claim.published is None:
        known = published(study, claim.named_runs)
        for key in (f"{run}.{claim.metric}" for run in claim.named_runs):
            if key not in known:
                raise origin.error(keys, f"needs `published`, or `{key}` among the published values", label)


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


def _check_run(study: Study, run: str, origin: Origin, keys: Keys, label: str = "") -> None:
    if run not in study.runs:
        raise origin.error(keys, f"there is no run `{run}` in this study{nearest(run, study.runs)}", label)


def find_study(name: str, workflow: Path, origin: Origin) -> Path:
    """The file of a study; `origin` is what names it."""
    return _existing("study", name, workflow / "studies", origin)


def _existing(kind: str, name: str, folder: Path, origin: Origin) -> Path:
    available = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in available:
        text = f"there is no {kind} `{name}`{nearest(name, available)}; {folder} has {', '.join(available)}"
        raise origin.error(("studies" if kind == "study" else kind,), text)
    return folder / f"{name}.yaml"
