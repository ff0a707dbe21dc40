"""Finished results, published in a repository: the paper, its figures for the gallery, and the data behind its tables.

What is published is complete in itself: `mlpaper.paper.published` writes README.md and docs/results.md from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlpaper.errors import MlpaperError
from mlpaper.files import atomic, read_frame, read_json, write_json
from mlpaper.paper import number_format as fmt
from mlpaper.paper.claim_text import Row
from mlpaper.paper.published import CLAIMS, GALLERY, PAPER, PARTS, PROVENANCE, RUNS, check_pages, write_pages
from mlpaper.paths import LEDGER, study_table
from mlpaper.study.ledger import COLUMNS, read_ledger
from mlpaper.study.metrics import METRICS

MOST_BYTES = {PAPER: 4_000_000, CLAIMS: 1_000_000, RUNS: 1_000_000}
"""What a clone of the repository has to carry at most."""
DIGITS = "%.8g"
"""Numbers in CSV: far finer than what one test image counts; whole numbers are exact up to 99 million."""
OF_A_RUN = ["study", "run", "seed", "run_id", "outcome"]
MEND = "snakemake --cores 4 makes it, with the configuration of the run"


def publish(results: Path, project: Path) -> list[Path]:
    """Write what a reader wants of finished results into a repository, and the texts that tell of it.

    Parameters
    ----------
    results
        The folder of results, with the paper as PDF.
    project
        The folder with ``README.md`` and ``docs``. The figures in its ``docs/gallery`` are replaced by those of the
        same name.

    Returns
    -------
    list of Path
        The files written, relative to `project`.

    Raises
    ------
    MlpaperError
        A result is missing or older than what it is made from, a file would be too large, or a page has no place for
        the results. Nothing is then written.
    """
    check_pages(project)
    numbers = read_json(_made(results / "numbers.json"))
    ledger = read_ledger(results / Path(LEDGER).name)
    if numbers["claims"] != ledger:
        raise MlpaperError(f"{results / 'numbers.json'} does not hold the claims of {LEDGER}: {MEND} again")
    contents = {
        PAPER: _paper(results),
        CLAIMS: claims_csv(ledger).encode(),
        RUNS: runs_csv(results, numbers["studies"]).encode(),
    }
    for path, most in MOST_BYTES.items():
        if (size := len(contents[path])) > most:
            raise MlpaperError(
                f"{path} would have {size:,} bytes; a repository should carry at most {most:,} of it. Publish fewer "
                "studies or seeds, or figures with fewer points"
            )
    for file in sorted((project / GALLERY).glob("*.svg")):
        contents[GALLERY / file.name] = _made(results / "figures" / file.name).read_bytes()
    provenance = provenance_of(numbers, _commits(results, numbers["study"]), contents)
    for path, content in contents.items():
        with atomic(project / path) as temporary:
            temporary.write_bytes(content)
    write_json(project / PROVENANCE, provenance)
    return [*contents, PROVENANCE, *write_pages(project)]


def _made(path: Path) -> Path:
    if not path.exists():
        raise MlpaperError(f"{path} is missing: {MEND}")
    return path


def _paper(results: Path) -> bytes:
    """The PDF, which Snakemake makes after the numbers."""
    paper, numbers = _made(results / "paper.pdf"), results / "numbers.json"
    if paper.stat().st_mtime < numbers.stat().st_mtime:
        raise MlpaperError(f"{paper} is older than {numbers}: {MEND} again")
    return paper.read_bytes()


def claims_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger as CSV; its rule and numbers in words as well, in the columns that end in ``_text``."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS)).drop(columns=["claim", "drawn", "means"])
    table["runs"] = table["runs"].map(" ".join)
    for name, before in (("rule", "metric"), ("published", "remark"), ("ours", "remark")):
        words = [_plain(getattr(Row(row), name)) for row in rows]
        table.insert(list(table.columns).index(before), f"{name}_text", words)
    return _csv(table)


def _plain(text: str) -> str:
    return "" if text == fmt.MISSING else text.replace(fmt.NO_BREAK_SPACE, " ")


def runs_csv(results: Path, studies: Sequence[str]) -> str:
    """Every run as a row of CSV, its metrics in columns; a run of two studies is told twice, by both names."""
    files = {study: results / Path(study_table(study)).relative_to("results") for study in studies}
    table = pd.concat([read_frame(_made(file)).assign(study=study) for study, file in files.items()])
    runs = pd.MultiIndex.from_frame(table[OF_A_RUN].drop_duplicates())
    wide = table.pivot(index=OF_A_RUN, columns="metric", values="value").reindex(runs)
    metrics = [*(name for name in METRICS if name in wide), *sorted(set(map(str, wide)) - set(METRICS))]
    return _csv(wide[metrics].reset_index())


def _csv(table: pd.DataFrame) -> str:
    text: str = table.to_csv(index=False, lineterminator="\n", float_format=DIGITS)
    return text


def provenance_of(
    numbers: Mapping[str, Any], commits: Sequence[Mapping[str, Any]], contents: Mapping[Path, bytes]
) -> dict[str, Any]:
    """What made the results, and SHA-256 of every file that is published."""
    found = numbers["provenance"]
    shown = ("command", "scale", "watermark", "version", "versions", "machine", "trained_on", "runs", "left_out")
    pools = numbers["pools"]
    return {
        **{name: found[name] for name in shown},
        "seconds": round(found["seconds"], 1),
        "commits": list(commits),
        "studies": [
            {"name": study, "title": numbers["study"][study]["title"], "data": pools[study]["id"]}
            | {"images": {part: pools[study][part] for part in PARTS}}
            for study in numbers["studies"]
        ],
        "datasets": numbers["datasets"],
        "files": {path.as_posix(): hashlib.sha256(content).hexdigest() for path, content in contents.items()},
    }


def _commits(results: Path, studies: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The commits at which the figures and tables of the paper were made, with their dates, the latest last."""
    items = [
        results / kind / f"{name}.json"
        for it in studies.values()
        for kind in ("figures", "tables")
        for name in it[kind]
    ]
    sidecars = (read_json(_made(item)) for item in items)
    known = {(it["date"], it["commit"], it["dirty"]) for it in sidecars if it["commit"]}
    return [{"commit": commit, "date": date, "dirty": dirty} for date, commit, dirty in sorted(known, key=str)]
