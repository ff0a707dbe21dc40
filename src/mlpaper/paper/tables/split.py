"""Images, share, and smallest and largest class of every part of the split."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import SplitTable


def build(item: SplitTable, job: ItemJob) -> Table:
    """A row per part and one for all of them; images outside the split are not counted."""
    dataset, split = job.dataset(), job.indices()
    labels = np.asarray(dataset.labels)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    counts = {name: np.bincount(labels[rows], minlength=len(dataset.classes)) for name, rows in parts.items()}
    counts["total"] = np.sum(list(counts.values()), axis=0)
    total = int(counts["total"].sum())
    raw: list[dict[str, Any]] = [
        {
            "part": name,
            "images": int(per_class.sum()),
            "share": float(per_class.sum() / total),
            "smallest_class": int(per_class.min()),
            "largest_class": int(per_class.max()),
        }
        for name, per_class in counts.items()
    ]
    columns = (
        Column("part", tuple(counts)),
        Column("images", tuple(f"{row['images']:,}" for row in raw), numeric=True),
        Column("share (%)", tuple(f"{100 * row['share']:.2f}" for row in raw), numeric=True),
        Column("smallest class", tuple(f"{row['smallest_class']:,}" for row in raw), numeric=True),
        Column("largest class", tuple(f"{row['largest_class']:,}" for row in raw), numeric=True),
    )
    return Table(columns, raw)
