"""Where the source's text and its authors' code differ."""

from __future__ import annotations

from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import DifferencesTable


def build(item: DifferencesTable, job: ItemJob) -> Table:
    """One row per entry of the study file."""
    entries = [entry | {"runs": ", ".join(entry["runs"])} for entry in job.entries]
    columns = {"point": "what", "in the text": "text", "in the code": "code", "runs": "runs"}
    return Table(
        tuple(Column(title, tuple(entry[key] for entry in entries)) for title, key in columns.items()), entries
    )
