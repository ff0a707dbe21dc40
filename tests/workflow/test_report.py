"""Snakemake's report of the tiny project, the archive for arXiv, and the paper in two columns."""

import io
import json
import re
import zipfile

import pytest
from project import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

FIGURES = {
    "Confusions": ("Confusions of A.", "A"),
    "Curves": ("Curves of both.", "A, B"),
    "Noise": ("Noise.", "A"),
    "Gradients": ("Gradients of A.", "A"),
}
TABLES = {
    "Test": ("Test accuracies.", "A, B"),
    "Claims": ("What is claimed.", "none"),
    "Settings of every run": ("Settings of every run.", "A, B"),  # which every study has
}


def test_the_report_shows_every_figure_and_table_with_title_runs_and_caption(built: Project) -> None:
    outcome = built.snakemake("--report", "report.zip")
    assert outcome.code == 0, outcome.output
    with zipfile.ZipFile(built.folder / "report.zip") as report:
        page = report.read("report/report.html").decode()
        files = {name.removeprefix("report/") for name in report.namelist()}
        shown = results_of(page)
        study = [entry for entry in shown if "A tiny study" in entry["categories"]]
        for kind, wanted in (("figure", FIGURES), ("table", TABLES)):
            found = {entry["labels"][kind]: entry for entry in study if kind in entry["labels"]}
            assert set(found) == set(wanted)
            for title, (caption, runs) in wanted.items():
                assert found[title]["labels"]["runs"] == runs
                assert caption in found[title]["caption"]
                assert found[title]["data_uri"] in files
        assert {entry["labels"].get("paper") for entry in shown} >= {"HTML", "LaTeX", "Markdown"}
        table = report.read(f"report/{next(e for e in study if 'table' in e['labels'])['data_uri']}").decode()
    assert "<table" in table
    assert not re.search(r"""(?:src|href)=["']?https?:""", table), "the table needs no network"
    assert built.plan() == {}, "a report changes nothing"


def results_of(page: str) -> list[dict]:
    """The results that a report's page knows, each with the categories that lead to it."""
    results = _assigned(page, "results")
    for category, below in _assigned(page, "categories").items():
        for names in below.values():
            for name in names:
                results[name].setdefault("categories", []).append(category)
    return list(results.values())


def _assigned(page: str, name: str) -> dict:
    """The value of a variable of the page."""
    start = re.search(rf"\bvar {name} = (?={{)", page)
    assert start, f"the page has no {name}"
    value, _ = json.JSONDecoder().raw_decode(page[start.end() :])
    return value


def test_what_is_made_on_request_only(built: Project) -> None:
    outcome = built.snakemake("results/paper-two-columns.tex", "results/paper-arxiv.tar.gz")
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == {"columns": 1, "arxiv": 1}
    assert "twocolumn" in (built.folder / "results" / "paper-two-columns.tex").read_text()
    assert io.BytesIO((built.folder / "results" / "paper-arxiv.tar.gz").read_bytes()).read(2) == b"\x1f\x8b"
