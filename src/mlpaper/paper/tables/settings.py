"""What every run was trained with; settings that all runs share stand in the note instead of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpaper.paper import number_format as fmt
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables import describe
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import SettingsTable

KEPT = frozenset({"run", "hidden layers", "optimiser", "learning rate"})
"""Columns that are shown even where all runs share one value."""

UNMENTIONED = {
    "in hidden layers": describe.ABSENT,
    "augmentation": describe.ABSENT,
    "pixels": describe.ABSENT,
    "decoupled decay": "0",
    "gradient norm": describe.ABSENT,
    "engine": "mlpaper",
}
"""Settings that are not even in the note where all runs have this value."""

NUMERIC = frozenset({"learning rate", "L2 λ", "decoupled decay", "batch size", "epochs", "patience"})
ADAM = "Adam has β₁ = 0.9, β₂ = 0.999 and ε = 1e-8 where nothing else is said."


def build(item: SettingsTable, job: ItemJob) -> Table:
    """One row per run, read from the specification of its first seed; a run that is left out says so by its name."""
    order = {run: place for place, run in enumerate(item.runs)}
    specs = {run: job.spec(run) for run in sorted(job.runs, key=lambda run: order.get(run, len(order)))}
    stopping = [spec for spec in specs.values() if spec["early_stopping"]]
    watch = {describe.watch(spec) for spec in stopping}
    gains = {spec["early_stopping"]["min_delta"] for spec in stopping}
    rows = [
        {"run": f"{run} ({fmt.NOT_RUN})" if run in job.left_out else run}
        | _row(spec, job.datasets, len(watch) == 1, len(gains) > 1)
        for run, spec in specs.items()
    ]
    cells = {title: tuple(row[title] for row in rows) for title in rows[0]}
    shared = {title for title, texts in cells.items() if title not in KEPT and len(rows) > 1 and len(set(texts)) == 1}
    columns = [Column(title, texts, title in NUMERIC) for title, texts in cells.items() if title not in shared]
    columns = [column for column in columns if set(column.cells) != {UNMENTIONED.get(column.title)}]
    common = "; ".join(
        f"{title} {cells[title][0]}" for title in cells if title in shared and cells[title][0] != UNMENTIONED.get(title)
    )
    notes = [f"All runs: {common}."] if common else []
    if len(watch) == 1:
        gain = f" by more than {fmt.short(least)}" if len(gains) == 1 and (least := next(iter(gains))) else ""
        watched = watch.pop().replace(";", f"{gain};")
        notes.append(f"Patience is in epochs without a better {watched}.")
    if len(gains) > 1:
        notes.append("Beside the patience stands, in brackets, the gain that counts as one where it is not any.")
    if any("(all)" in text for title in ("L2 λ", "decoupled decay") for text in cells[title]):
        notes.append("Decay is of the weights, or of all parameters (all).")
    if any(spec["optimizer"]["name"] == "adam" for spec in specs.values()):
        notes.append(ADAM)
    if recorded := [run for run, spec in specs.items() if spec.get("record_steps")]:
        notes.append(f"The loss of every update is kept of {', '.join(recorded)}.")
    raw = _of_one_type([_raw_row(run, spec) for run, spec in specs.items()])
    return Table(tuple(columns), raw, " ".join(notes))


def _row(spec: dict[str, Any], datasets: Mapping[str, str], brief: bool, gain: bool) -> dict[str, str]:
    """Settings as shown, by the heading of their column.

    Parameters
    ----------
    datasets
        What datasets are called, by name.
    brief
        Leave to the note what early stopping watches.
    gain
        Say beside the patience which gain counts.
    """
    clip = spec.get("clip_norm")
    return {
        "data": describe.images(spec, datasets),
        "hidden layers": describe.hidden(spec),
        "in hidden layers": describe.within(spec),
        "activation": describe.name(spec["network"]["activation"]),
        "initialisation": describe.initializer(spec),
        "pixels": describe.pixels(spec),
        "augmentation": describe.augmentation(spec),
        "loss": describe.loss(spec),
        "loss reduction": describe.name(spec["loss"]["reduction"]),
        "optimiser": describe.optimizer(spec),
        "learning rate": fmt.short(spec["optimizer"]["learning_rate"]),
        "schedule": describe.schedule(spec),
        "L2 λ": _decay(spec, "l2"),
        "decoupled decay": _decay(spec, "decoupled"),
        "gradient norm": f"at most {fmt.short(clip)}" if clip else describe.ABSENT,
        "batch size": describe.batch(spec),
        "epochs": describe.length(spec),
        "patience" if brief else "early stopping": describe.patience(spec, gain) if brief else describe.stopping(spec),
        "engine": describe.engine(spec),
    }


def _decay(spec: dict[str, Any], kind: str) -> str:
    decay = spec["decay"]
    return fmt.short(decay[kind]) + (" (all)" if decay[kind] and decay["parameters"] == "all" else "")


def _raw_row(run: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Settings as in the specification; nested ones by joined names, such as `optimizer.momentum`."""
    flat: dict[str, Any] = {"run": run} | _flat(spec)
    del flat["seed"]
    return flat


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def _of_one_type(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with text in columns that mix text and numbers: a batch of 128, and one that is `full`."""
    kinds: dict[str, set[bool]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name, set()).add(isinstance(value, str))
    mixed = {name for name, kind in kinds.items() if len(kind) > 1}
    return [{name: str(value) if name in mixed else value for name, value in row.items()} for row in rows]
