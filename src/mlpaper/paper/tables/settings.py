"""What every run was trained with; settings that all runs share stand in the note instead of a column."""

from __future__ import annotations

from typing import Any

from mlpaper.paper import format as fmt
from mlpaper.paper.job import ItemJob
from mlpaper.paper.tables import describe
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema import SettingsTable

KEPT = frozenset({"run", "hidden layers", "optimiser", "learning rate"})
"""Columns that are shown even where all runs share one value."""

NUMERIC = frozenset({"learning rate", "L2 λ", "batch size", "epochs", "patience"})
ADAM = "Adam has β₁ = 0.9, β₂ = 0.999 and ε = 1e-8 where nothing else is said."


def build(item: SettingsTable, job: ItemJob) -> Table:
    """One row per run, read from the specification of its first seed; a run that is left out says so by its name."""
    specs = {run: job.spec(run) for run in job.runs}
    watch = {describe.watch(spec) for spec in specs.values()} - {""}
    rows = [
        {"run": f"{run} ({fmt.NOT_RUN})" if run in job.left_out else run} | _row(spec, brief=len(watch) == 1)
        for run, spec in specs.items()
    ]
    cells = {title: tuple(row[title] for row in rows) for title in rows[0]}
    shared = {title for title, texts in cells.items() if title not in KEPT and len(rows) > 1 and len(set(texts)) == 1}
    columns = [Column(title, texts, title in NUMERIC) for title, texts in cells.items() if title not in shared]
    common = ", ".join(f"{title} {cells[title][0]}" for title in cells if title in shared)
    notes = [f"All runs: {common}."] if common else []
    if len(watch) == 1:
        notes.append(f"Patience is in epochs without a lower {watch.pop()}.")
    if any(spec["optimizer"]["name"] == "adam" for spec in specs.values()):
        notes.append(ADAM)
    return Table(tuple(columns), [_raw_row(run, spec) for run, spec in specs.items()], " ".join(notes))


def _row(spec: dict[str, Any], brief: bool) -> dict[str, str]:
    """Settings as shown, by the heading of their column; `brief` leaves to the note what early stopping watches."""
    return {
        "hidden layers": describe.hidden(spec),
        "activation": describe.name(spec["network"]["activation"]),
        "initialisation": describe.name(spec["network"]["initializer"]),
        "optimiser": describe.optimizer(spec),
        "learning rate": fmt.short(spec["optimizer"]["learning_rate"]),
        "schedule": describe.schedule(spec),
        "L2 λ": fmt.short(spec["decay"]["l2"]),
        "batch size": f"{spec['batch_size']:,}",
        "loss reduction": describe.name(spec["loss"]["reduction"]),
        "epochs": f"{spec['epochs']:,}",
        "patience" if brief else "early stopping": describe.patience(spec) if brief else describe.stopping(spec),
    }


def _raw_row(run: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Settings as in the specification; nested ones by joined names, such as `optimizer.momentum`."""
    flat: dict[str, Any] = {"run": run}
    for key, value in spec.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": setting for name, setting in value.items()}
        elif value is not None:
            flat[key] = value
    del flat["seed"]
    return flat
