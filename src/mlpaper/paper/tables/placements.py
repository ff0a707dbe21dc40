"""Time per epoch and device memory where images are resident on a GPU and where they are streamed to it."""

from __future__ import annotations

import pandas as pd

from mlpaper.paper import format as fmt
from mlpaper.paper.job import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import PlacementsTable

PLACEMENTS = ("resident", "streamed")
MEASURES = (("seconds_per_epoch", "s per epoch"), ("device_memory", "MiB on the device"))


def build(item: PlacementsTable, job: ItemJob) -> Table:
    """A row per batch size, two columns per placement: medians over the seeds."""
    folders = job.results.runs[item.run]
    measured = pd.concat([folder.placements() for folder in folders]) if folders else pd.DataFrame()
    if measured.empty:
        return Table((Column("batch", ("–",), numeric=True),), [], "Not measured: no GPU was at hand.")
    medians = measured.groupby(["batch_size", "placement"])[[name for name, _ in MEASURES]].median()
    sizes = sorted(measured["batch_size"].unique())
    columns = [Column("batch", tuple(str(size) for size in sizes), numeric=True)]
    for placement in PLACEMENTS:
        for name, title in MEASURES:
            cells = tuple(_cell(name, medians, size, placement) for size in sizes)
            columns.append(Column(f"{placement}, {title}", cells, numeric=True))
    images = int(measured["images"].iloc[0])
    raw = medians.reset_index().to_dict("records")
    return Table(
        tuple(columns),
        [{str(key): value for key, value in row.items()} for row in raw],
        f"Updates alone, over {images:,} training images; medians of three epochs.",
    )


def _cell(name: str, medians: pd.DataFrame, size: int, placement: str) -> str:
    if (size, placement) not in medians.index:
        return fmt.number(name, None)
    value = float(medians.loc[(size, placement), name])
    return f"{value:.3f}" if name == "seconds_per_epoch" else f"{value:,.0f}"
