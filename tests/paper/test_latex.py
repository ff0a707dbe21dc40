"""LaTeX in one and two columns, and the archive for arXiv, compiled where LaTeX is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from test_render import FIGURES, REPORT, STUDY, TABLES, document, make, tiny_pdf  # noqa: F401  (fixtures)

from mlpaper.errors import RenderError
from mlpaper.files import write_text
from mlpaper.paper.arxiv import archive, pack
from mlpaper.paper.render import Columns, Paper, render

needs_latex = pytest.mark.skipif(not shutil.which("latexmk"), reason="LaTeX is not installed")
NARROW = "| run | accuracy |\n|---|--:|\n| M0 | 87.45 |\n"
LONG = NARROW + "| M1 | 88.58 |\n" * 59
WORDS = "words that go on and on"


@pytest.fixture(scope="module")
def results(make: Callable[[dict[str, Any]], Path]) -> Path:  # noqa: F811
    """A narrow table, a wide one with prose, and one of more rows than a page takes."""
    folder = make(document())
    wide = [f"column {k}" for k in range(9)]
    rows = [[f"M{row}-as-coded", *["80.25 ± 0.12"] * 7, WORDS * 4] for row in range(90)]
    lines = [f"| {' | '.join(row)} |" for row in [wide, ["---"] * 9, *rows]]
    write_text(folder / "tables" / f"{STUDY}-split.md", NARROW)
    write_text(folder / "tables" / f"{STUDY}-as-coded.md", LONG)
    write_text(folder / "tables" / f"{STUDY}-settings.md", "\n".join(lines[:8]) + "\n")
    write_text(folder / "tables" / f"{STUDY}-test.md", "\n".join(lines) + "\n\nA note below it.\n")
    return folder


def compiled(folder: Path, name: str) -> tuple[PdfReader, str]:
    """The PDF that latexmk makes of a file in its folder, and LaTeX's log. It may run no program and leave the folder
    neither to read nor to write."""
    command = ["latexmk", "-norc", "-pdf", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "-quiet"]
    environment = os.environ | {"openin_any": "p", "openout_any": "p"}
    done = subprocess.run([*command, name], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    log = (folder / name).with_suffix(".log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    return PdfReader((folder / name).with_suffix(".pdf")), log


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.slow
@needs_latex
def test_nothing_runs_off_the_page(results: Path, tmp_path: Path, columns: Columns) -> None:
    shutil.copytree(results / "figures", tmp_path / "figures")
    render(REPORT, results, "tex", tmp_path / "paper.tex", columns=columns)
    pdf, log = compiled(tmp_path, "paper.tex")
    assert not re.findall(r"Overfull \\hbox \((?:[5-9]|\d\d+)\.", log)
    assert "Float too large" not in log
    assert "undefined" not in log
    text = " ".join(page.extract_text() for page in pdf.pages)
    for row in range(90):
        assert f"M{row}-as-coded" in text
    assert "A note below it." in text


def test_with_two_columns_what_is_wide_spans_both(results: Path) -> None:
    text = Paper(REPORT, results, "tex", 2).document()
    assert ",twocolumn]{article}" in text
    assert text.count(r"\begin{figure*}") == 2 + len(FIGURES)  # and those of the whole paper
    assert r"\begin{figure}" not in text
    assert len(re.findall(r"\\begin\{table\}.*\n\n\\caption", text)) >= 1
    assert re.search(rf"\\begin\{{table\*\}}[^\n]*\n\n\\caption\{{.*\n?.*table-{STUDY}-settings", text)
    assert text.count(r"\ContinuedFloat") == 4, "90 wide rows are cut into four parts, 60 narrow ones into two"
    assert "longtable}[" not in text
    assert text.count(r"\label{table-") == len(TABLES)


def test_with_one_column_nothing_floats_over_two(results: Path) -> None:
    text = Paper(REPORT, results, "tex").document()
    assert "twocolumn" not in text
    assert text.count(r"\begin{longtable}") == 1, "the long narrow table runs over pages"
    assert "figure*" not in text
    assert "table*" not in text


@pytest.mark.parametrize(("target", "engine"), [("html", "auto"), ("md", "auto"), ("pdf", "typst")])
def test_two_columns_are_for_latex_alone(results: Path, tmp_path: Path, target: Any, engine: Any) -> None:
    with pytest.raises(RenderError, match="two columns are set by LaTeX alone"):
        render(REPORT, results, target, tmp_path / "paper", engine, columns=2)


# --- the archive for arXiv


@pytest.fixture(scope="module")
def packed(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("arxiv") / "paper-arxiv.tar.gz"
    pack(REPORT, results, output)
    return output


def test_the_archive_holds_the_source_and_its_figures_and_nothing_of_this_machine(packed: Path) -> None:
    with tarfile.open(packed) as tar:
        entries = tar.getmembers()
        source = tar.extractfile("paper.tex")
        assert source is not None
        text = source.read().decode()
    names = [entry.name for entry in entries]
    figures = ["calibration", "verdicts", *(f"{STUDY}-{figure}" for figure in FIGURES)]
    assert names == sorted(["paper.tex", *(f"figures/{figure}.pdf" for figure in figures)])
    owners = {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) for entry in entries}
    assert owners == {(0, 0, "", "", 0o644)}
    assert all(entry.isreg() for entry in entries)
    assert len({entry.mtime for entry in entries}) == 1
    assert str(packed.parents[1]) not in text
    assert str(REPORT.parent) not in text
    assert r"\bibliography" not in text
    assert r"\begin{CSLReferences}" in text


def test_the_archive_is_the_same_every_time(packed: Path, results: Path, tmp_path: Path) -> None:
    os.utime(results / "figures" / f"{STUDY}-samples.pdf", (0, 0))
    pack(REPORT, results, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()
    assert archive({"b": b"1", "a": b"2"}, 7) == archive({"a": b"2", "b": b"1"}, 7)


@pytest.mark.slow
@needs_latex
def test_the_archive_compiles_in_an_empty_folder(packed: Path, tmp_path: Path) -> None:
    with tarfile.open(packed) as tar:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
        tar.extractall(tmp_path, **safely)
    pdf, log = compiled(tmp_path, "paper.tex")
    assert "Published studies" in pdf.pages[0].extract_text()
    assert "undefined" not in log


def test_a_missing_figure_is_an_error(results: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(results, tmp_path / "results")
    (copy / "figures" / f"{STUDY}-samples.pdf").unlink()
    with pytest.raises(RenderError, match=r"samples\.pdf, which was not made"):
        pack(REPORT, copy, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()
