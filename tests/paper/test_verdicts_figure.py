"""The figure of all claims: each of them once, by its verdict, whatever the studies and the outcomes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pypdf
import pytest
from fake_document import STUDIES, document, plan_of
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlpaper.files import read_json, write_parquet
from mlpaper.paper import style
from mlpaper.paper.expand import figure_jobs, numbers_job
from mlpaper.paper.figures import draw, verdicts
from mlpaper.paper.jobs import ItemJob, inputs
from mlpaper.paper.provenance import write_sidecar
from mlpaper.study.ledger import VERDICTS, as_table

EXTRAS = ("batch-norm-sigmoid", "dropout-mnist", "glorot-initialisation")
Make = Callable[..., ItemJob]


@cache
def claims_of(studies: tuple[str, ...]) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = document(studies, random=1)["claims"]
    return claims


def outcome(row: dict[str, Any], verdict: str) -> dict[str, Any]:
    low = verdict in ("contradicted", "not reproduced", "leaning against")
    probability = None if verdict.startswith("not ") and low is False else 0.02 if low else 0.4
    return row | {"verdict": verdict, "probability": 0.97 if verdict in ("supported", "leaning for") else probability}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The job of the figure for some studies, with a ledger in which every verdict occurs."""

    def job(studies: tuple[str, ...], scale: str = "paper", **changes: Any) -> ItemJob:
        rows = [
            outcome(row, VERDICTS[number % len(VERDICTS)]) | changes for number, row in enumerate(claims_of(studies))
        ]
        ledger = tmp_path / "claims.parquet"
        write_parquet(ledger, as_table(rows))
        return figure_jobs(plan_of(studies, scale))["verdicts"].model_copy(update={"claims": str(ledger)})

    return job


def drawn(job: ItemJob) -> Figure:
    with style.applied():
        figure = verdicts.draw(job.item, job)  # type: ignore[arg-type]
        figure.draw_without_rendering()
    return figure


def marks(figure: Figure) -> list[Line2D]:
    return [line for ax in figure.axes for line in ax.lines if line.get_marker() not in ("None", None)]


@pytest.mark.parametrize("studies", [("residual-depth",), ("glorot-initialisation",), STUDIES, (*STUDIES, *EXTRAS)])
def test_every_claim_is_there_once_on_one_page_and_leads_to_its_place(
    studies: tuple[str, ...], make: Make, tmp_path: Path
) -> None:
    job = make(studies)
    rows = [row for row in claims_of(studies) if row["reading"] == "as written"]
    links = draw(job, tmp_path / "verdicts")
    assert sorted(link.target for link in links) == sorted(f"claim-{row['study']}-{row['id']}" for row in rows)
    assert all(0 <= link.left < link.left + link.width <= 100 and 0 < link.top < 100 for link in links)
    boxes = sorted((link.left, link.top, link.height) for link in links)
    gaps = [second[1] - first[1] for first, second in itertools.pairwise(boxes) if first[0] == second[0]]
    assert min(gaps) > 0.75 * max(link.height for link in links), (
        "ids do not overlap, except for what hangs below a line"
    )
    page = pypdf.PdfReader(tmp_path / "verdicts.pdf").pages[0]
    words = page.extract_text().split()
    assert {row["id"] for row in rows} <= set(words)
    width, height = float(page.mediabox.width) / 72, float(page.mediabox.height) / 72
    assert (width, height <= verdicts.HEIGHT + 0.01) == (style.WIDTH, True)


def test_places_colours_and_shapes_are_those_of_probabilities_and_verdicts(make: Make) -> None:
    job = make(STUDIES)
    rows = [outcome(row, VERDICTS[number % len(VERDICTS)]) for number, row in enumerate(claims_of(STUDIES))]
    shown = {(round(float(line.get_xdata()[0]), 3), line.get_marker(), line.get_color()) for line in marks(drawn(job))}  # type: ignore[index]
    expected = {
        (row["probability"], verdicts.MARKS[row["verdict"]].marker, verdicts.MARKS[row["verdict"]].colour)
        for row in rows
        if row["probability"] is not None and row["verdict"] in verdicts.MARKS
    }
    assert shown == expected
    assert len(marks(drawn(job))) == sum(row["probability"] is not None for row in rows)


def test_claims_without_a_probability_say_why_and_published_values_are_beside_ours(make: Make, tmp_path: Path) -> None:
    draw(make(STUDIES, verdict="not comparable", probability=None), tmp_path / "a")
    text = pypdf.PdfReader(tmp_path / "a.pdf").pages[0].extract_text()
    written = [row for row in claims_of(STUDIES) if row["reading"] == "as written"]
    assert text.count("not comparable") == len(written)
    assert "87.45" in text, "the published accuracy of M0"
    assert "supported" not in text, "the key names only what occurs"


def test_marks_differ_in_shape_or_filling_and_colours_in_grey() -> None:
    looks = [(mark.marker, mark.hollow) for mark in verdicts.MARKS.values()]
    assert len(set(looks)) == len(looks)
    assert set(verdicts.MARKS) | {"not comparable", "not run"} == set(VERDICTS)
    grey = [
        0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in map(to_rgb, (verdicts.FOR, verdicts.AGAINST))
    ]
    assert abs(grey[0] - grey[1]) > 0.1


def test_columns_are_nearly_equal_and_no_heading_is_alone_at_a_foot() -> None:
    chosen = random.Random(0)
    for _ in range(200):
        sizes = [chosen.randint(1, 60) for _ in range(chosen.randint(1, 6))]
        claim = verdicts.Line(1.0, readings=(None,))  # type: ignore[arg-type]
        groups = [
            [verdicts.Line(0.9), verdicts.Line(1.15, title="T"), verdicts.Line(1.1, counts="c"), *[claim] * size]
            for size in sizes
        ]
        columns = verdicts.split(groups, 2)
        assert sum(bool(line.readings) for column in columns for line in column) == sum(sizes)
        assert all(column[-1].readings for column in columns if column)
        assert all(not column[0].readings for column in columns if column), "each begins with a title"
        if len(sizes) == 1 and sizes[0] > 10:
            first, second = (sum(line.height for line in column) for column in columns)
            assert abs(first - second) < 4


def test_it_depends_on_the_ledger_alone_and_its_provenance_tells_so(make: Make, tmp_path: Path) -> None:
    plan = plan_of(("residual-depth",))
    job = figure_jobs(plan)["verdicts"]
    assert inputs(job) == ["results/claims.parquet"]
    assert (job.id, job.study) == ("verdicts", None)
    assert list(numbers_job(plan).figures) == ["verdicts", "calibration"]
    links = [{"target": "claim-a", "left": 1.0, "top": 2.0, "width": 3.0, "height": 4.0}]
    write_sidecar(job, "figure", tmp_path / "verdicts", "0" * 12, " --config scale=demo", links)
    sidecar = read_json(tmp_path / "verdicts.json")
    assert (sidecar["study"], sidecar["inputs"], sidecar["links"]) == (None, ["results/claims.parquet"], links)
    assert sidecar["command"].endswith("verdicts.svg --config scale=demo")
