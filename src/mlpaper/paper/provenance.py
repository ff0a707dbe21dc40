"""Provenance: which code, runs, machine and command made a thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpaper.files import write_json
from mlpaper.machine import commit, machine, versions
from mlpaper.paper.jobs import ItemJob, inputs


def write_sidecar(
    job: ItemJob, kind: str, stem: Path, code: str, config: str, links: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write ``<stem>.json``: what the figure or table is, what it was made from, and the command that makes it.

    `code` is the digest of the code that made it; `config` is what stands behind the command's target, such as
    ` --config scale=demo`; `links` are the parts of a figure that lead somewhere.
    """
    runs = [Path(folder).name for folders in job.runs.values() for folder in folders]
    ending = "svg" if kind == "figure" else "md"
    write_json(
        stem.with_suffix(".json"),
        {
            "id": job.id,
            "kind": kind,
            "title": job.item.title,
            "caption": f"{job.item.caption.rstrip()} {job.absence}".rstrip() if kind == "figure" else job.item.caption,
            "alt": job.item.title,
            "study": job.study,
            "runs": runs,
            "specs": {run: run.rsplit("-", 1)[-1] for run in runs},
            "code_digest": code,
            **commit(),
            "versions": versions(),
            "machine": machine(),
            "inputs": inputs(job),
            "links": list(links),
            "watermark": job.watermark,
            "command": f"snakemake --cores 1 {stem}.{ending}{config}",
        },
    )
