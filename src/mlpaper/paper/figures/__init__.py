"""Figures of the paper, one module per kind, each with ``draw(item, job) -> Figure``.

The modules are imported by name, when needed: the pipeline redraws a figure when *its* module changes, no other.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from mlpaper.paper import style
from mlpaper.paper.jobs import ItemJob


def draw(job: ItemJob, stem: Path) -> list[style.Link]:
    """Draw the job's figure into ``stem.svg`` and ``stem.pdf``, without the runs that are left out; its links."""
    kind = importlib.import_module(f"{__name__}.{job.item.kind.replace('-', '_')}")
    shown = getattr(job.item, "runs", tuple(job.runs))  # in the item's order
    made = tuple(run for run in shown if run not in job.left_out)
    item = job.item.model_copy(update={"runs": made}) if hasattr(job.item, "runs") else job.item
    with style.applied():
        absence = job.no_data or (job.absence if job.left_out and not made else "")
        figure = style.message(absence) if absence else kind.draw(item, job)
        links = style.take_links(figure)
        style.save(figure, stem, job.item.title, job.watermark)
    return links
