"""Whatever a user writes in any text of a study comes out of every kind of paper as it was written."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_document import STUDY, document
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pypdf import PdfReader
from test_latex import compiled, needs_latex
from test_render import tiny_pdf  # noqa: F401  (fixture)
from texts import OTHER, PIECES, Page, plain, words

from mlpaper import markup
from mlpaper.files import write_json, write_text
from mlpaper.paper.render import Paper, render
from mlpaper.paper.tables.table import Column, Table

pytestmark = pytest.mark.slow

REPORT = Path(__file__).parents[2] / "report"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 20" width="60" height="20"><path d="M0 0h60v20z"/></svg>'
PAPER = """---
title: "A paper"
watermark: {{ provenance.watermark | tojson }}
fact: [{{ provenance.scale | tojson }}]
abstract: "Short."
---
{% from "sections/clauses.md.j2" import tests with context %}
{% include "sections/generic.md.j2" %}

{% include "sections/appendix.md.j2" %}

*{{ about[study].title }}* by {{ about[study].authors }}: {{ about[study].runs.M0 }}

| {{ about[study].title }} |
|:--|
| {{ about[study].title }} |

{{ tests(study, ["m0-87"]) }}

{{ (provenance.unknown_because or "") | text }}
"""
"""Every text once as the templates of the paper place it."""


class Texts(NamedTuple):
    """What users write, by field."""

    title: str
    authors: str
    summary: str
    description: str
    statement: str
    figure_title: str
    figure_caption: str
    table_title: str
    table_caption: str
    cell: str
    head: str
    note: str
    watermark: str
    scale: str
    reason: str


def texts(of: tuple[str, ...]) -> st.SearchStrategy[Texts]:
    return st.builds(Texts, **dict.fromkeys(Texts._fields, plain(of)))


NO_DOLLARS = tuple(piece for piece in PIECES if "$" not in piece and "[@k]" not in piece)
"""Formulas that pandoc cannot read, and citations of nothing, are found before any job."""


def results(folder: Path, texts: Texts) -> Path:
    """A results folder with one figure and one table, and these texts in every place."""
    facts = document()
    about = facts["study"][STUDY] | {"figures": ["s-f"], "tables": ["s-t"], "code": None}
    about |= {"title": texts.title, "authors": texts.authors, "summary": texts.summary}
    about |= {"runs": {"M0": texts.description}}
    facts["study"] = {STUDY: about}
    for row in facts["claims"]:
        row["statement"] = texts.statement
    facts["provenance"] |= {"watermark": texts.watermark, "scale": texts.scale}
    write_json(folder / "numbers.json", facts)
    sidecar: dict[str, Any] = {"runs": [], "code_digest": "0" * 16, "commit": None, "machine": {}, "versions": {}}
    figure = {"title": texts.figure_title, "alt": texts.figure_title, "caption": texts.figure_caption}
    table = {"title": texts.table_title, "caption": texts.table_caption}
    write_json(folder / "figures" / "s-f.json", sidecar | figure | {"command": "snakemake f"})
    write_json(folder / "tables" / "s-t.json", sidecar | table | {"command": "snakemake t"})
    write_text(folder / "figures" / "s-f.svg", SVG)
    columns = (Column(texts.head, (texts.cell, "*")), Column("n", ("1", "2"), numeric=True))
    Table(columns, [], texts.note).write(folder / "tables" / "s-t", texts.table_title)
    return folder


def papers(report: Path, folder: Path, reason: str, *targets: Any) -> dict[str, str]:
    found = {}
    for target in targets:
        paper = Paper(report, folder, target)
        paper.facts["provenance"]["unknown_because"] = reason
        found[target] = paper.document()
    return found


def shown(texts: Texts) -> list[str]:
    """What a reader sees of them."""
    prose = ("summary", "figure_caption", "table_caption")
    hidden = ("figure_title", "table_title")  # for those who cannot see the picture
    return [
        markup.bare(text) if name in prose else text for name, text in texts._asdict().items() if name not in hidden
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "report"
    shutil.copytree(REPORT, folder)
    (folder / "paper.md.j2").write_text(
        PAPER.replace("about[study]", f"about['{STUDY}']")
        .replace("(study,", f"('{STUDY}',")
        .replace("{% include", f"{{% set study = '{STUDY}' %}}\n{{% include", 1)
    )
    return folder


@given(texts((*NO_DOLLARS, *OTHER)))
@settings(max_examples=6, phases=[Phase.generate])
def test_texts_are_read_in_pages_and_on_github_as_they_were_written(report: Path, texts: Texts) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = papers(report, results(Path(scratch), texts), texts.reason, "html", "md")
        table = Page((Path(scratch) / "tables" / "s-t.html").read_text()).text
    for text in (texts.table_title, texts.head, texts.cell, texts.note):
        assert text in words(table)
    page, github = Page(made["html"]), Page(MarkdownIt("commonmark").enable("table").render(made["md"]))
    assert {"alt": texts.figure_title} in [{"alt": attributes.get("alt")} for attributes in page.images]
    for text in shown(texts):
        assert text in words(page.text)
        assert text in words(github.text)


ASCII = tuple(piece for piece in NO_DOLLARS if piece.isascii())


def squashed(text: str) -> str:
    """Letters and signs of a text, without what the breaking of lines adds or takes; TeX's signs as a keyboard's."""
    return re.sub(r"[\s-]", "", text).translate(str.maketrans("ˆ˜’‘", "^~'`"))


def read(pdf: PdfReader) -> str:
    return squashed(" ".join(page.extract_text() for page in pdf.pages))


@given(texts(ASCII))
@settings(max_examples=8, phases=[Phase.generate])
def test_texts_are_read_in_the_pdf_of_typst_as_they_were_written(report: Path, texts: Texts) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        render(report, results(folder, texts), "pdf", folder / "paper.pdf", "typst")
        found = read(PdfReader(folder / "paper.pdf"))
    for text in shown(texts._replace(reason="A")):
        assert squashed(text) in found


@needs_latex
@given(texts(ASCII))
@settings(max_examples=6, phases=[Phase.generate])
def test_texts_are_read_in_the_pdf_of_latex_as_they_were_written(report: Path, tiny_pdf: bytes, texts: Texts) -> None:  # noqa: F811
    with tempfile.TemporaryDirectory() as scratch:
        folder = results(Path(scratch), texts)
        (folder / "figures" / "s-f.pdf").write_bytes(tiny_pdf)
        write_text(folder / "paper.tex", papers(report, folder, texts.reason, "tex")["tex"])
        pdf, _ = compiled(folder, "paper.tex")
        found = read(pdf)
    for text in shown(texts):
        assert squashed(text) in found


@needs_latex
def test_latex_writes_what_it_has_no_type_for_by_number_and_auto_takes_typst(
    report: Path,
    tiny_pdf: bytes,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = results(tmp_path, Texts(*["中文 é 😀"] * len(Texts._fields)))
    (folder / "figures" / "s-f.pdf").write_bytes(tiny_pdf)
    write_text(folder / "paper.tex", papers(report, folder, "A", "tex")["tex"])
    assert "[U+4E2D][U+6587]é[U+1F600]" in read(compiled(folder, "paper.tex")[0])
    render(report, folder, "pdf", folder / "auto.pdf")
    assert "U+4E2D" not in read(PdfReader(folder / "auto.pdf"))
