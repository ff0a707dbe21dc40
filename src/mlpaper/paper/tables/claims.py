"""The claims of a study: what the source says, the rule that decides it, both numbers, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlpaper.files import read_parquet
from mlpaper.paper.claim_text import Row
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import ClaimsTable


def build(item: ClaimsTable, job: ItemJob) -> Table:
    """One row per claim and reading, which begins with its id; remarks are numbered and stand in the note."""
    assert job.claims is not None
    rows = [Row(facts) for facts in read_parquet(Path(job.claims)).to_pylist()]
    remarks = {remark: number for number, remark in enumerate(_remarks(rows), 1)}
    columns = (
        Column("claim", tuple(_statement(row) for row in rows)),
        Column("rule", tuple("as above" if row.kind == "as coded" else row.rule for row in rows)),
        Column("published", tuple(row.published for row in rows)),
        Column("ours", tuple(row.ours for row in rows)),
        Column("verdict", tuple(_verdict(row, remarks) for row in rows)),
    )
    raw = [{name: value for name, value in row.facts.items() if name not in ("claim", "runs")} for row in rows]
    note = " ".join(f"[{number}] {remark[0].upper()}{remark[1:]}." for remark, number in remarks.items())
    return Table(columns, raw, note)


def _remarks(rows: Iterable[Row]) -> dict[str, None]:
    return dict.fromkeys(row.facts["remark"] for row in rows if row.facts["remark"])


def _statement(row: Row) -> str:
    told = "The same, as coded." if row.kind == "as coded" else f"{row.facts['statement']} ({row.source})"
    return f"{row.facts['id']}: {told}"


def _verdict(row: Row, remarks: dict[str, int]) -> str:
    remark = row.facts["remark"]
    parts = [str(row.facts["verdict"]), row.probability, f"[{remarks[remark]}]" if remark else ""]
    return " ".join(filter(None, parts))
