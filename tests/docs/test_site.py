"""The site: built without a warning, complete, and readable in a browser without a network."""

from __future__ import annotations

import doctest
import html
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import nbformat
import pytest
from filelock import FileLock
from pages import DOCS, PAGES

from mlpaper import api
from mlpaper.cli import cli
from mlpaper.spec import RunSpec
from mlpaper.study import rules
from mlpaper.study.metrics import METRICS
from mlpaper.study.schema import items
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import Study

pytest.importorskip("sphinx", reason="the documentation's tools are not installed (make docs)")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESK = (390, 844), (1440, 900)
NAMES = [str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if DOCS in page.parents]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once by whichever worker of pytest-xdist comes first. Any warning is an error."""
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(DOCS), str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(made)
                pytest.fail(done.stderr)
    return made


def test_examples_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    found = doctest.testmod(importlib.import_module("generated"))
    assert (found.failed, found.attempted > 0) == (0, True)


def text_of(site: Path, name: str) -> str:
    """The text of a page, without markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", (site / f"{name}.html").read_text())).split())


def test_the_tutorial_says_what_its_cells_print(site: Path) -> None:
    page = text_of(site, "tutorial")
    assert "supported: +" in page, "the claim that the text calls supported"
    assert re.search(r"plain-30 ends at a validation accuracy of 1\d\.\d%", page), "which the text says fails"
    assert "did you mean `narrow`?" in page
    assert len(list((site / "_images").glob("*.png"))) == 3


def test_the_tutorial_opens_as_a_notebook(tmp_path: Path) -> None:
    target = tmp_path / "tutorial.ipynb"
    program = Path(sys.executable).with_name("mystnb-to-jupyter")
    subprocess.run([str(program), str(DOCS / "tutorial.md"), str(target)], check=True, capture_output=True)
    notebook = nbformat.read(target, as_version=4)
    nbformat.validate(notebook)
    lines = [line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    assert len(lines) > 40
    assert [line for line in lines if len(line) > 85] == [], "wider than the page at desk width"


def kinds(union: Any, tag: str) -> set[str]:
    """The tags of the members of a union."""
    return {f"{tag}: {get_args(it.model_fields[tag].annotation)[0]}" for it in get_args(get_args(union)[0])}


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("configuration", set(Settings.model_fields)),
        ("scale", set(Scale.model_fields)),
        ("study", set(Study.model_fields)),
        ("run", set(RunSpec.model_fields) | {"name: cosine", "scheme: official"}),
        ("claims", kinds(rules.ClaimSpec, "rule")),
        ("figures-and-tables", kinds(items.FigureSpec, "kind") | kinds(items.TableSpec, "kind")),
        ("metrics", set(METRICS)),
        ("commands", {f"mlpaper {name}" for name in cli.commands}),
        ("python", set(api.__all__)),
    ],
)
def test_the_reference_is_complete(site: Path, page: str, words: set[str]) -> None:
    text = text_of(site, f"reference/{page}")
    assert {word for word in words if word not in text} == set()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize(
    ("size", "names"),
    [(PHONE, NAMES), (DESK, ["tutorial", "results", "explanation/engine", "reference/python"])],
    ids=["phone", "desk"],
)
def test_pages_work_without_a_network(site: Path, browser: Any, size: tuple[int, int], names: list[str]) -> None:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("request", lambda it: None if it.url.startswith(("file:", "data:")) else complaints.append(it.url))
    for name in names:
        page.goto((site / f"{name}.html").as_uri())
        wide, inner = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert wide <= inner, f"{name} scrolls sideways"
        assert page.evaluate("Array.from(document.images).every((image) => image.naturalWidth > 0)"), name
    assert complaints == []
    page.close()


def test_search_works_from_files(site: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q=calibration")
    page.wait_for_selector("#search-results li a")
    assert "reference/metrics.html" in page.inner_html("#search-results")
    page.close()
