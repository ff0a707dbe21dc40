"""Choices that the source leaves open, the value taken and why."""

from __future__ import annotations

from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import OpenChoicesTable


def build(item: OpenChoicesTable, job: ItemJob) -> Table:
    """One row per entry of the study file."""
    columns = {"open point": "what", "choice": "choice", "reason": "reason"}
    return Table(
        tuple(Column(title, tuple(entry[key] for entry in job.entries)) for title, key in columns.items()), job.entries
    )
