"""Figures of the paper, one module per kind, each with ``draw(item, job) -> Figure``.

The modules are imported by name, when needed: the pipeline redraws a figure when *its* module changes, no other.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from mlpaper.paper import style
from mlpaper.paper.job import ItemJob


def draw(job: ItemJob, stem: Path) -> None:
    """Draw the job's figure into ``stem.svg`` and ``stem.pdf``."""
    kind = importlib.import_module(f"{__name__}.{job.item.kind.replace('-', '_')}")
    with style.applied():
        style.save(kind.draw(job.item, job), stem, job.item.title, job.watermark)
