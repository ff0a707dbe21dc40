"""From the entries of a study to specifications: sweeps become runs, changes are merged, a scale is applied.

Every run is validated before anything computes with its values, and again as the scale makes it, with its data.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlpaper.data.catalog import Catalog
from mlpaper.data.sources import Source
from mlpaper.engine.schedules import learning_rate
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.spec import PARTS, ConstantSchedule, OfficialSplit, PoolSpec, RunSpec, SplitSpec
from mlpaper.study.data_fit import misfits
from mlpaper.study.schema.names import LONGEST_NAME, RUN_NAME
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import RunEntry, Study, Sweep, Variant, VariantRun
from mlpaper.study.validate import Keys, Origin, Problem, explained, validate

SPEC_DEFAULTS = RunSpec(dataset=PoolSpec(name="digits")).model_dump(mode="json", exclude={"dataset", "seed"})
"""What a run is where nobody says otherwise."""


def with_all_runs(study: Study, origin: Origin, keys: Iterable[str]) -> Study:
    """The study with the runs of its sweeps and variants, in the order of `keys`, those of its file.

    Raises
    ------
    ConfigurationError
        A sweep or variant is incomplete, or names or makes a run that it cannot.
    """
    swept = _with_sweeps(study, origin)
    varied = _with_variants(swept, origin)
    if not varied.runs:
        raise ConfigurationError(f"{origin.name}: has neither `runs` nor `sweeps`")
    made = {
        "runs": study.runs.keys(),
        "sweeps": swept.runs.keys() - study.runs.keys(),
        "variants": varied.runs.keys() - swept.runs.keys(),
    }
    place = {run: number for number, key in enumerate(keys) for run in made.get(key, ())}
    runs = dict(sorted(varied.runs.items(), key=lambda item: place[item[0]]))
    return varied.model_copy(update={"runs": runs})


def _with_sweeps(study: Study, origin: Origin) -> Study:
    """The study with a run for every point of its sweeps, and with sweeps over another's points completed."""
    runs, sweeps = dict(study.runs), dict[str, Sweep]()
    for name, sweep in study.sweeps.items():
        like = sweeps.get(sweep.based_on or "")
        if like:
            inherited = {key: getattr(like, key) for key in ("points", "vary", "logarithmic")}
            sweep = sweep.model_copy(update=inherited | {"label": sweep.label or like.label})
        if not sweep.points or not sweep.vary:
            raise origin.error(("sweeps", name), "needs `vary` and `points`, or a sweep before it as `based_on`")
        if unknown := sweep.heavy.keys() - sweep.points.keys():
            point = min(unknown)
            text = f"there is no such point in the sweep{nearest(point, sweep.points)}"
            raise origin.error(("sweeps", name, "heavy", point), text)
        sweeps[name] = sweep
        for point in sweep.points:
            run = sweep.run(name, point)
            if run in runs:
                raise origin.error(("sweeps", name), f"there is already a run `{run}`")
            runs[run] = _swept(sweep, name, point, like, origin)
    return study.model_copy(update={"runs": runs, "sweeps": sweeps})


def _swept(sweep: Sweep, name: str, point: str, like: Sweep | None, origin: Origin) -> RunEntry:
    """The run at a point of the sweep `name`, based on that of the sweep `like` where there is one."""
    run = sweep.run(name, point)
    if not re.fullmatch(RUN_NAME, run) or len(run) > LONGEST_NAME:
        text = f"`{run}` cannot be the name of a run: it must be letters and digits joined by single hyphens, as in"
        raise origin.error(("sweeps", name, "points", point), f"{text} `{name}-2`, and no longer than {LONGEST_NAME}")
    values = {
        "description": sweep.description.replace("{}", point),
        "based_on": like.run(str(sweep.based_on), point) if like else sweep.based_on,
        "changes": sweep.changes if like else merge(sweep.changes, _nested(sweep.vary, sweep.points[point])),
        "noise": sweep.noise,
        "gradients": sweep.gradients,
        "heavy": sweep.heavy.get(point),
    }
    return validate(RunEntry, values, origin, lambda problem: ("sweeps", name, *problem.keys))


def _with_variants(study: Study, origin: Origin) -> Study:
    """The study with the runs of its variants, and with the patterns in them resolved."""
    runs, variants = dict(study.runs), dict[str, Variant]()
    for name, variant in study.variants.items():
        if variant.based_on is not None and variant.based_on not in variants:
            text = f"there is no variant `{variant.based_on}` before this one{nearest(variant.based_on, variants)}"
            raise origin.error(("variants", name, "based_on"), text)
        variant = variant.model_copy(update={"runs": _varied(runs, name, variant, origin)})
        variants[name] = variant
        made = {variant.run(name, run): _variant(runs, name, run, variant, origin) for run in variant.runs}
        if twice := sorted(made.keys() & runs.keys()):
            raise origin.error(("variants", name), f"there is already a run `{twice[0]}`")
        runs |= made
    return study.model_copy(update={"runs": runs, "variants": variants})


def _varied(runs: Mapping[str, RunEntry], name: str, variant: Variant, origin: Origin) -> dict[str, VariantRun]:
    """The runs that a variant names, each with what is different in it: the last that is said of it counts."""
    found: dict[str, VariantRun] = {}
    for pattern, own in variant.runs.items():
        matching = fnmatch.filter(runs, pattern)
        if not matching:
            text = f"no run before this variant is like `{pattern}`{nearest(pattern, runs)}"
            raise origin.error(("variants", name, "runs", pattern), text)
        found |= dict.fromkeys(matching, own)
    return found


def _variant(runs: Mapping[str, RunEntry], name: str, run: str, variant: Variant, origin: Origin) -> RunEntry:
    """The variant of a run."""
    entry, own, start = runs[run], variant.runs[run], run if variant.based_on is None else f"{run}-{variant.based_on}"
    if start not in runs:
        raise origin.error(("variants", name, "based_on"), f"there is no run `{start}`{nearest(start, runs)}")
    if len(made := variant.run(name, run)) > LONGEST_NAME:
        raise origin.error(("variants", name), f"`{made}` is too long for a run; {LONGEST_NAME} characters at most")
    description = own.description or variant.description or f"{{}}, {name.replace('-', ' ')}"
    return entry.model_copy(
        update={
            "description": description.replace("{run}", run).replace("{}", entry.description),
            "based_on": start,
            "reproduces": (entry.reproduces or run) if variant.reproduces else None,
            "changes": merge(variant.changes, own.changes),
            "noise": entry.noise if own.noise is None else own.noise,
            "gradients": entry.gradients if own.gradients is None else own.gradients,
            "heavy": own.heavy or entry.heavy,
        }
    )


def _nested(path: str, value: Any) -> dict[str, Any]:
    """A value under the keys of a path: `network.hidden`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def expand(
    study: Study,
    origin: Origin,
    settings: Settings,
    scale: Scale,
    seeds: Mapping[str, tuple[int, ...]],
    config: Origin,
    datasets: Catalog,
) -> tuple[dict[str, tuple[RunSpec, ...]], dict[str, RunSpec]]:
    """Every run of a study at a scale: its name to its specifications, one per seed; and those that the scale changes.

    The second are as the study writes them. `seeds` are those of each run. `origin` and `config` are where the study
    and the settings come from.

    Raises
    ------
    ConfigurationError
        A run is no valid specification, or does not fit its data.
    """
    expanded, changed = {}, {}
    for name, entry in study.runs.items():
        chain = _chain(study, name, origin)
        spec, written = _at_scale(study, chain, origin, settings, scale, config, datasets)
        if spec != written:
            changed[name] = written
        if (other := entry.epochs_for_rates_of) is not None:
            other_chain = _chain(study, other, origin)
            scheduled, _ = _at_scale(study, other_chain, origin, settings, scale, config, datasets)
            spec = _with_rates_of(scheduled, spec, origin, ("runs", name, "epochs_for_rates_of"))
        expanded[name] = tuple(spec.model_copy(update={"seed": seed}) for seed in seeds[name])
    return expanded, changed


def _at_scale(
    study: Study,
    chain: Sequence[str],
    origin: Origin,
    settings: Settings,
    scale: Scale,
    config: Origin,
    datasets: Catalog,
) -> tuple[RunSpec, RunSpec]:
    """The first run of a chain as it is made and as it is written, both validated, also with their data."""

    def locate(problem: Problem) -> Keys:
        return _located(study, chain, problem)

    values = merge(SPEC_DEFAULTS, study.defaults)
    for run in reversed(chain):
        values = merge(values, study.runs[run].changes)
    if "seed" in values:
        problem = Problem(("seed",), "runs have the seeds of the configuration; leave it out")
        raise explained(problem, origin, locate)
    written = validate(RunSpec, values, origin, locate)
    for problem in misfits(written, datasets):
        raise explained(problem, origin, locate)
    scaled = at_scale(values, written, settings, scale, datasets)
    if scaled == values:
        return written, written
    made = replace(origin, note=f" (as made at scale `{settings.scale}`)")
    spec = validate(RunSpec, scaled, made, locate)
    for problem in misfits(spec, datasets):
        if problem.keys == ("dataset", "parts"):
            raise config.error(("emnist_parts",), f"run `{chain[0]}` of {study.name}: {problem.text}")
        raise explained(problem, made, locate)
    return spec, written


def _with_rates_of(other: RunSpec, spec: RunSpec, origin: Origin, keys: Keys) -> RunSpec:
    """`spec` with as many epochs as its constant rate needs for the sum of the learning rates of `other`."""
    if spec.schedule != ConstantSchedule() or other.schedule.per != "epoch":
        raise origin.error(keys, "needs a constant rate of this run, and a schedule by epochs of the other")
    base, epochs = other.optimizer.learning_rate, other.epochs
    total = sum(learning_rate(other.schedule, base, t, epochs) for t in range(epochs))
    return spec.model_copy(update={"epochs": max(1, round(total / spec.optimizer.learning_rate))})


def _chain(study: Study, name: str, origin: Origin) -> list[str]:
    """A run, what it is based on, what that is based on, and so on."""
    chain = [name]
    while (base := study.runs[chain[-1]].based_on) is not None:
        if base not in study.runs or base in chain:
            text = f"there is no run `{base}` in this study{nearest(base, study.runs)}"
            if base in chain:
                names = (*chain[chain.index(base) :], base)
                text = f"{' -> '.join(names if len(names) < 9 else (*names[:4], '...', *names[-3:]))} is a circle"
            place = next(_places(study, chain[-1:]))
            raise origin.error((*place.prefix[:2], "based_on"), text)
        chain.append(base)
    return chain


@dataclass(frozen=True)
class _Place:
    """Values of a run where they stand in the file: under `prefix`, without the keys `within` that lead to them."""

    prefix: tuple[str, ...]
    values: Any
    within: tuple[str, ...] = ()
    """Of a point of a sweep, the field that varies."""


def _places(study: Study, chain: Iterable[str]) -> Iterator[_Place]:
    """Where values of a run may stand, in the order in which they count."""
    swept = {sweep.run(name, point): (name, point) for name, sweep in study.sweeps.items() for point in sweep.points}
    varied = {variant.run(name, run): (name, run) for name, variant in study.variants.items() for run in variant.runs}
    for run in chain:
        if run in varied:
            name, base = varied[run]
            variant = study.variants[name]
            yield _Place(("variants", name, "runs", base, "changes"), variant.runs[base].changes)
            yield _Place(("variants", name, "changes"), variant.changes)
            continue
        if run not in swept:
            yield _Place(("runs", run, "changes"), study.runs[run].changes)
            continue
        name, point = swept[run]
        sweep = study.sweeps[name]
        if sweep.based_on not in study.sweeps:
            within = tuple(sweep.vary.split("."))
            yield _Place(("sweeps", name, "points", point), _nested(sweep.vary, sweep.points[point]), within)
        yield _Place(("sweeps", name, "changes"), sweep.changes)
    yield _Place(("defaults",), study.defaults)


def _located(study: Study, chain: Sequence[str], problem: Problem) -> Keys:
    """Keys in the study's file of a problem of a run: where the longest part of its keys stands."""
    keys = problem.keys
    best: tuple[int, Keys] = (-1, ())
    for place in _places(study, chain):
        depth, values = 0, place.values
        while depth < len(keys) and isinstance(values, Mapping) and keys[depth] in values:
            depth, values = depth + 1, values[keys[depth]]
        found: Keys = (*place.prefix, *keys[len(place.within) :])
        if depth and place.within[: len(keys)] == keys and (problem.unknown or keys != place.within):
            found = (*place.prefix[:2], "vary")
        elif depth < len(place.within):
            continue
        if depth > best[0]:
            best = depth, found
    return best[1]


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


def at_scale(
    values: dict[str, Any], spec: RunSpec, settings: Settings, scale: Scale, datasets: Catalog
) -> dict[str, Any]:
    """The plain values of a run, whose specification is `spec`, as the settings and the scale change them."""
    changed: dict[str, Any] = {}
    dataset, own = dict(values["dataset"]), datasets[spec.dataset.name]
    other = datasets[scale.dataset] if scale.dataset is not None and own.downloads else None
    if other is not None:
        dataset = {"name": other.name}
    elif spec.dataset.name.startswith("emnist"):
        dataset["parts"] = settings.emnist_parts
    changed["dataset"] = dataset
    split = dict(values["split"])
    if not (scale.withhold and tuple(dataset.get("parts", PARTS)) == PARTS):
        split.pop("withhold_per_class", None)
    if other is not None:
        split |= _in_proportion(spec.split, own, other)
        weights = getattr(spec.loss, "class_weights", None)
        if isinstance(weights, tuple) and len(weights) != len(other.classes):
            changed["loss"] = values["loss"] | {"class_weights": "balanced"}
    changed["split"] = split
    if scale.epochs_divisor > 1:
        changed["epochs"] = max(2, math.ceil(spec.epochs / scale.epochs_divisor))
        if spec.updates is not None:
            changed["updates"] = max(2, math.ceil(spec.updates / scale.epochs_divisor))
    if scale.max_batch_size is not None and spec.batch_size != "full":
        changed["batch_size"] = min(spec.batch_size, scale.max_batch_size)
    if scale.max_width is not None:
        narrow = [min(width, scale.max_width) for width in spec.network.hidden]
        changed["network"] = values["network"] | {"hidden": narrow}
    return values | changed


def _in_proportion(split: SplitSpec, own: Source, other: Source) -> dict[str, int]:
    """Numbers of training images that a split names, for a dataset of another size; no class is left without any."""
    if not isinstance(split, OfficialSplit):
        return {}
    numbers, classes = dict[str, int](), len(other.classes)
    ratio = other.parts.train.count / own.parts.train.count
    if isinstance(split.validation, int):
        numbers["validation"] = max(classes, round(ratio * split.validation))
        least = numbers["validation"] + classes
    else:
        least = classes * math.ceil(1 / split.validation)
    if split.subset is not None:
        numbers["subset"] = max(least, round(ratio * split.subset))
    return numbers
