"""Tables of the paper, one module per kind, each with ``build(item, job) -> Table``.

The modules are imported by name, when needed: the pipeline rebuilds a table when *its* module changes, no other.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table


def build(job: ItemJob, stem: Path) -> None:
    """Write the job's table as ``stem.md``, ``stem.tex``, ``stem.html`` and ``stem.parquet``."""
    kind = importlib.import_module(f"{__name__}.{job.item.kind.replace('-', '_')}")
    table: Table = _nothing(job.no_data) if job.no_data else kind.build(job.item, job)
    watermark = f"{job.watermark}." if job.watermark else ""
    note = " ".join(filter(None, (watermark, table.note, job.absence)))
    replace(table, note=note).write(stem, job.item.title)


def _nothing(because: str) -> Table:
    return Table((Column("data", (because,)),), [{"data": because}])
