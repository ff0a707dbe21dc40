"""Time per epoch and device memory where images are resident on a GPU and where they are streamed to it."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import PlacementsTable

PLACEMENTS = ("resident", "streamed")
MEASURES = (("seconds_per_epoch", "s per epoch", "{:.3f}"), ("device_memory", "MiB on the device", "{:,.0f}"))


def build(item: PlacementsTable, job: ItemJob) -> Table:
    """A row per batch size, two columns per placement: medians over the seeds."""
    found: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    images = 0
    for folder in job.results.runs[item.run]:
        columns = folder.placements()
        for row, (size, placement) in enumerate(zip(columns["batch_size"], columns["placement"], strict=True)):
            images = columns["images"][row]
            for name, _, _ in MEASURES:
                found[size, placement, name].append(columns[name][row])
    sizes = sorted({size for size, _, _ in found})
    shown = [Column("batch size", tuple(map(str, sizes)) or ("–",), numeric=True)]
    for placement in PLACEMENTS:
        for name, title, form in MEASURES:
            values = [found.get((size, placement, name)) for size in sizes] or [None]
            cells = tuple(form.format(median(value)) if value else "–" for value in values)
            shown.append(Column(f"{placement}, {title}", cells, numeric=True))
    raw = [
        {"batch_size": size, "placement": placement, "measure": name, "median": median(values)}
        for (size, placement, name), values in sorted(found.items())
    ]
    measured = f"Updates alone, over {images:,} images; each the median of three epochs."
    return Table(tuple(shown), raw, measured if found else "Not measured: the paper was made without a GPU.")
