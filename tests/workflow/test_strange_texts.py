"""A study whose every text holds what Snakemake, Jinja2, pandoc, Typst, HTML and Matplotlib take for their own."""

from __future__ import annotations

import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from project import SCALE, STUDY, Project, copy_project
from pypdf import PdfReader
from test_report import results_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

NASTY = (
    r"{ij} {{ x }} {% y %} `a @10 $5 #1 %2 &amp; a_b ~c ^d <b>e</script> f>g |h \i \textbf{j} "
    """ "k" 'l' *m --n ,, ... o: Übung שלום"""
).replace("  ", " ")
PROSE = rf"Loss $L_{{ij}}$ of *all* `{{x}} $y` runs, [@he2016], [home](https://example.org/a_b): {NASTY}"


def nasty_study() -> dict:
    study = yaml.safe_load(STUDY)
    study |= {"title": f"T {NASTY}", "summary": f"S {PROSE}"}
    study["source"] |= {"authors": f"U {NASTY}", "title": f"V {NASTY}"}
    for run in study["runs"].values():
        run["description"] = f"D {NASTY}"
    study["claims"][0]["statement"] = f"C {NASTY}"
    study["open_choices"] = [{name: f"{name} {NASTY}" for name in ("what", "choice", "reason")}]
    study["differences"] = [{name: f"{name} {NASTY}" for name in ("what", "text", "code")}]
    sweep = {"label": f"L {NASTY}", "description": f"{{}} {NASTY}", "vary": "optimizer.learning_rate"}
    study["sweeps"] = {"rate": sweep | {"points": {"a": 0.001, "b": 0.002}, "heavy": {"b": f"H {NASTY}"}}}
    study["figures"].append({"kind": "sweep", "name": "rate", "sweeps": ["rate"]})
    study["tables"] += [{"kind": kind, "name": kind} for kind in ("settings", "open-choices", "differences")]
    for number, item in enumerate(study["figures"] + study["tables"]):
        item |= {"title": f"I{number} {NASTY}", "caption": f"P{number} {PROSE}"}
    return study


def write(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("nasty"))
    project.config = ("scale=tiny", "studies=[tiny]", "pdf=typst")
    write(project.folder / "workflow" / "studies" / "tiny.yaml", nasty_study())
    scale = {"watermark": f"W {NASTY}", "description": f"X {NASTY}"}
    write(project.folder / "workflow" / "scales" / "tiny.yaml", yaml.safe_load(SCALE) | scale)
    outcome = project.snakemake("--report", "report.zip", "--report-after-run")
    assert outcome.code == 0, outcome.output
    return project


class Words(HTMLParser):
    """The text of a page, scripts and styles left out."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.hidden = "", False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


def without_spaces(text: str) -> str:
    """A text without what the breaking of lines adds or takes, and without Hebrew, whose order readers of PDF turn."""
    return re.sub(r"[\s-]|[\u0590-\u05ff\u2000-\u206f]", "", text)


def test_every_text_is_in_the_page_and_in_the_pdf_as_it_was_written(nasty: Project) -> None:
    results = nasty.folder / "results"
    page = " ".join(Words((results / "paper.html").read_text(encoding="utf-8")).text.split())
    pdf = without_spaces(" ".join(each.extract_text() for each in PdfReader(results / "paper.pdf").pages))
    plain = ["T", "C", "W", *("what", "choice", "reason", "text", "code")]
    captions = [f"home: {NASTY}", *(f"Figure {at}. P{number} Loss" for number, at in enumerate((2, 3, 4, 6, 7)))]
    for text in [f"{letter} {NASTY}" for letter in plain] + captions:
        assert text in page
        assert without_spaces(text) in pdf


def test_a_label_is_on_its_axis_as_it_was_written(nasty: Project) -> None:
    drawn = PdfReader(nasty.folder / "results" / "figures" / "tiny-rate.pdf").pages[0].extract_text()
    assert without_spaces(f"L {NASTY}") in without_spaces(drawn)


def test_every_text_is_in_the_report_as_it_was_written(nasty: Project) -> None:
    with zipfile.ZipFile(nasty.folder / "report.zip") as report:
        page = report.read("report/report.html").decode()
    assert "<b>e</script" not in page, "no text ends a script of the page"
    shown = results_of(page)
    items = [entry for entry in shown if {"figure", "table"} & entry["labels"].keys()]
    of_study = [entry for entry in items if entry["categories"] != ["The paper"]]
    assert (len(items), len(of_study)) == (12, 10), "two figures are those of the whole paper"
    for entry in of_study:
        label = next(text for kind, text in entry["labels"].items() if kind != "runs").replace("\u2060", "")
        assert re.fullmatch(rf"I\d {re.escape(NASTY)}", label)
        assert [category.replace("\u2060", "") for category in entry["categories"]] == [f"T {NASTY}"]
        assert f"runs, [he2016], home: {NASTY}" in Words(entry["caption"]).text
        assert "<em>all</em>" in entry["caption"]
        assert "</script" not in json.dumps([entry["labels"], entry["caption"], entry["categories"]])


def test_a_formula_that_cannot_be_typeset_is_told_before_any_job(project: Project) -> None:
    path = project.folder / "workflow" / "studies" / "tiny.yaml"
    study = yaml.safe_load(path.read_text())
    study["tables"][1]["caption"] = r"It is $\frac{1$ or so."
    write(path, study)
    outcome = project.snakemake()
    assert outcome.code != 0
    assert r"`$\frac{1$` cannot be typeset" in " ".join(outcome.output.split())
    assert re.search(r"tiny\.yaml:\d+: `tables\.1\.caption`", outcome.output)
    assert "Traceback" not in outcome.output
    assert not (project.folder / "results").exists()
