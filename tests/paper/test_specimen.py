"""Formulas and characters that cannot be typeset are found before any job, with file, line and key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpaper.errors import ConfigurationError
from mlpaper.paper import specimen
from mlpaper.study.plan import load_plan

ROOT = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "name": "s",
    "title": "A study",
    "source": {"citation": "he2016", "authors": "Nobody", "title": "Nothing"},
    "summary": "What it asks.",
    "defaults": {"dataset": {"name": "digits"}},
    "sweeps": {"rate": {"label": "rate", "description": "{}", "vary": "epochs", "points": {"a": 1}}},
    "tables": [{"kind": "settings", "name": "a", "title": "A", "caption": "A."}],
}
NOWHERE = "\u0378"
"""A number that no character has, and so no font."""


def check(folder: Path, pdf: str, **changes: Any) -> None:
    for name in ("studies", "scales"):
        (folder / "workflow" / name).mkdir(parents=True)
    shutil.copytree(ROOT / "workflow" / "datasets", folder / "workflow" / "datasets")
    (folder / "report").mkdir()
    (folder / "report" / "references.bib").write_text((ROOT / "report" / "references.bib").read_text())
    shutil.copytree(ROOT / "report" / "style", folder / "report" / "style")
    scale = {"description": "A scale.", "seeds": [0], "noise_seeds": 1}
    (folder / "workflow" / "scales" / "paper.yaml").write_text(yaml.safe_dump(scale))
    (folder / "workflow" / "studies" / "s.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    plan = load_plan({"studies": ["s"], "pdf": pdf}, folder / "workflow")
    specimen.check_texts(plan, folder / "workflow")


def test_names_of_classes_that_figures_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "workflow" / "datasets" / "digits.yaml").read_text().replace('"9"]', f'"{NOWHERE}"]')
    copytree = shutil.copytree

    def copied(source: Path, target: Path) -> None:
        copytree(source, target)
        if target.name == "datasets":
            (target / "digits.yaml").write_text(text)

    monkeypatch.setattr(shutil, "copytree", copied)
    with pytest.raises(ConfigurationError, match=r"digits\.yaml:\d+: `classes\.9`: no font .* for figures"):
        check(tmp_path, "none")


@pytest.mark.parametrize("pdf", ["typst", "none"])
def test_what_can_be_typeset_passes(tmp_path: Path, pdf: str) -> None:
    check(tmp_path, pdf, summary=r"$L_{ij} \le \frac{1}{2}$ at $5 & 6 %, σ = 1, Жж, שלום", title="Ωé—“x”")


def test_ordinary_texts_start_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpaper.paper.render.convert", None)
    monkeypatch.setattr("typst.compile", None)
    check(tmp_path, "typst", title="Études {of} $5 – λ ≤ 1", summary="*All* `a` [@he2016].")


@pytest.mark.parametrize(
    ("pdf", "changes", "message"),
    [
        ("none", {"summary": r"Of $\frac{1$."}, r"s.yaml:7: `summary`: `$\frac{1$` cannot be typeset"),
        (
            "none",
            {"summary": r"Of $x$ and *$50 % y$*."},
            r"s.yaml:7: `summary`: `$50 % y$` cannot be typeset, since `%` begins a comment",
        ),
        ("typst", {"title": f"A {NOWHERE}"}, f"s.yaml:2: `title`: no font of this machine has `{NOWHERE}` (U+0378)"),
        ("latex", {"title": "A 中 б"}, "s.yaml:2: `title`: LaTeX has no type for `中б` here; `pdf: typst`"),
        (
            "none",
            {"sweeps": {"rate": STUDY["sweeps"]["rate"] | {"label": f"a{NOWHERE}"}}},
            f"`sweeps.rate.label`: no font of this machine has {NOWHERE} (U+0378), for figures",
        ),
    ],
)
def test_what_cannot_be_typeset_is_told_with_its_place(tmp_path: Path, pdf: str, changes: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        check(tmp_path, pdf, **changes)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="LaTeX is not installed")
@pytest.mark.parametrize("formula", [r"x^2^3", r"\text{a_b}", r"\llbracket x", r"\left( x"])
def test_formulas_that_pandoc_reads_and_latex_does_not(tmp_path: Path, formula: str) -> None:
    message = f"s.yaml:7: `summary`: `${formula}$` cannot be typeset, since LaTeX says: "
    with pytest.raises(ConfigurationError, match=re.escape(message)) as told:
        check(tmp_path, "auto", summary=f"As $a_1$, ${formula}$ and $b$.")
    assert str(told.value).count("\n") == 0


def test_without_latex_formulas_are_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    check(tmp_path, "auto", summary="As $x^2^3$.")
