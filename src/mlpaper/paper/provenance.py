"""Provenance: which code, runs, machine and command made a thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def braced(runs: Iterable[str]) -> str:
    """Names of runs, shorter: those that differ from the seed on are in braces, as bash and zsh expand them.

    >>> braced(["mnist-64-sgd-s0-17d1f8fb", "mnist-64-sgd-s1-ddf8dc9b", "mnist-8-sgd-s0-5cc19712"])
    'mnist-64-sgd-s{0-17d1f8fb,1-ddf8dc9b} mnist-8-sgd-s0-5cc19712'
    """
    groups = defaultdict[str, list[str]](list)
    for run in dict.fromkeys(runs):
        network, mark, seed = run.rpartition("-s")
        groups[network + mark].append(seed)
    return " ".join(
        f"{network}{{{','.join(seeds)}}}" if len(seeds) > 1 else network + seeds[0] for network, seeds in groups.items()
    )
