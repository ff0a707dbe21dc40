"""Provenance: which code, runs, machine and command made a thing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlpaper.digest import digest
from mlpaper.files import write_json
from mlpaper.machine import machine, versions
from mlpaper.paper.expand import inputs
from mlpaper.paper.job import ItemJob


def commit() -> dict[str, Any]:
    """Commit of the working folder, its date, and whether tracked files differ from it; nulls outside a repository."""
    revision = _git("rev-parse", "HEAD")
    return {
        "commit": revision,
        "date": _git("show", "--no-patch", "--format=%cI", "HEAD") if revision else None,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if revision else None,
    }


def write_sidecar(job: ItemJob, kind: str, stem: Path, modules: Iterable[str]) -> None:
    """Write ``<stem>.json``: what the figure or table is, and everything it was made from."""
    runs = [Path(folder).name for folders in job.runs.values() for folder in folders]
    ending = "svg" if kind == "figure" else "md"
    write_json(
        stem.with_suffix(".json"),
        {
            "id": job.id,
            "kind": kind,
            "title": job.item.title,
            "caption": job.item.caption,
            "alt": job.item.title,
            "study": job.study,
            "runs": runs,
            "specs": {run: run.rsplit("-", 1)[-1] for run in runs},
            "code_digest": digest(*modules),
            **commit(),
            "versions": versions(),
            "machine": machine(),
            "inputs": inputs(job),
            "watermark": job.watermark,
            "command": f"snakemake --cores 1 {stem}.{ending}",
        },
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
