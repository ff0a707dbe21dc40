from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_document import STUDIES, STUDY, document
from test_render import REPORT, Page

from mlpaper.files import write_json
from mlpaper.paper.cards import Axis, Card, Cards
from mlpaper.paper.render import Paper

NASTY = "</details><script>alert(1)</script> ```````` {{ x }} <!-- \"q\" 's' & $5 *m*\n````````\n\n# Not a heading"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return document(STUDIES, seeds=3, left_out=("M2",), partly=("M1c",))


@pytest.fixture(scope="module")
def card(facts: dict[str, Any]) -> Callable[[str], Card]:
    made = Cards(facts, {f"{STUDY}.m0-87"})
    found = {f"{each.row.facts['study']}.{each.row.facts['id']}": each for name in STUDIES for each in made.cards(name)}
    return found.__getitem__


def test_every_claim_has_a_card_and_every_seed_a_dot(facts: dict[str, Any]) -> None:
    cards = [each for name in STUDIES for each in Cards(facts, set()).cards(name)]
    assert len(cards) == len(facts["claims"])
    for each in cards:
        row, strips = each.row, [strip for panel in each.panels for strip in panel.strips if strip.is_run]
        key = f"{row.facts['study']}.{{}}.{row.facts['metric']}"
        dots = {run: len(facts["numbers"].get(key.format(run), {"values": ()})["values"]) for run in row.facts["runs"]}
        assert {strip.label: len(strip.dots) for strip in strips} == (dots if any(dots.values()) else {})
        places = [x for p in each.panels for s in p.strips for x in (*s.dots, *s.quantiles)]
        assert all(0 <= place <= 100 for place in places)


def test_a_difference_has_an_axis_of_its_own(card: Callable[[str], Card]) -> None:
    runs, draws = card(f"{STUDY}.adam-over-momentum").panels
    assert [strip.label for strip in runs.strips] == ["M1b", "M1a"]
    assert (runs.region, runs.published) == (None, None)
    assert draws.title == "validation accuracy, M1b − M1a"
    (strip,) = draws.strips
    assert list(strip.quantiles) == sorted(strip.quantiles)
    assert draws.region is not None
    assert sum(draws.region) == 100, "everything above the margin"
    assert strip.quantiles[0] > draws.region[0], "a supported claim is drawn in its region"
    assert draws.published == 97, "+6.11 points, the far end of the axis"


def test_a_value_shares_the_axis_of_its_run(card: Callable[[str], Card]) -> None:
    made = card(f"{STUDY}.m0-87")
    (panel,) = made.panels
    assert [strip.label for strip in panel.strips] == ["M0", "draws of the mean"]
    assert panel.region is not None
    begin, width = panel.region
    assert panel.published == pytest.approx(begin + width / 2, abs=0.1)
    assert panel.strips[1].quantiles[-1] < begin, "80 % is not 87 %"
    assert made.told
    assert not card(f"{STUDY}.m1g-88").told


def test_runs_that_were_left_out_or_diverged_are_said(facts: dict[str, Any]) -> None:
    panels = [each.panels[0] for each in Cards(facts, set()).cards(STUDY) if each.panels]
    said = {
        s.label: s.said.replace("\u00a0", " ")
        for panel in panels
        for s in panel.strips
        if "minus" not in panel.title and "accuracy" in panel.title
    }
    assert said["M2"] == "not run"
    assert said["M1c"].endswith(", 1 of 3 diverged")
    assert said["M1d"] == "3 of 3 diverged"


def test_the_command_makes_what_the_metric_is_read_from(facts: dict[str, Any]) -> None:
    numbers = {f"{STUDY}.{run}.epochs": {"runs": [f"{run}-s0", f"{run}-s1"]} for run in ("M0", "M1g", "M3b")}
    made = Cards(facts | {"numbers": numbers, "provenance": {"command": "snakemake --cores all --config a=1"}}, set())
    commands = {each.row.facts["id"]: each.command for each in made.cards(STUDY)}
    assert commands["m0-87"] == "snakemake --cores all results/runs/M0-s{0,1}/evaluation.json --config a=1"
    for each in made.cards(STUDY):
        if targets := each.command.removeprefix("snakemake --cores all ").removesuffix(" --config a=1"):
            paths = subprocess.run(["bash", "-c", f"echo {targets}"], check=True, capture_output=True, text=True).stdout
            known = {run for name in each.row.claim.named_runs for run in made._folders(f"{STUDY}.{name}")}
            assert {path.split("/")[2] for path in paths.split()} == known
    assert commands["m3b-gap"].split()[3] == "results/runs/M3b-s{0,1}/run.json"
    numbers[f"{STUDY}.M0.epochs"]["runs"] = [f"M0-s{seed}" for seed in range(20)]
    assert made.cards(STUDY)[0].command.split()[3] == f"results/studies/{STUDY}/claims.parquet", "they are many"
    numbers[f"{STUDY}.M0.epochs"]["runs"] = ["M0-s0", "M0-s1"]
    assert commands["m3b-most-robust-1"].split()[3].endswith("/robustness.parquet")
    numbers[f"{STUDY}.M0.epochs"]["runs"].pop()
    assert made.cards(STUDY)[0].command.split()[3] == "results/runs/M0-s0/evaluation.json", "braces need two"


def test_an_axis_of_equal_numbers_has_a_middle() -> None:
    assert Axis.over([0.5, float("inf"), None, 0.5]).place(0.5) == 50
    assert Axis.over([]).place(0.0) == 50


def test_a_hostile_text_stays_text(facts: dict[str, Any], tmp_path: Path) -> None:
    rows = [dict(row) for row in facts["claims"] if row["study"] == STUDY]
    rows[0] |= {"statement": NASTY, "place": NASTY, "remark": NASTY}
    told = json.loads(json.dumps(facts)) | {"claims": rows, "studies": [STUDY]}
    told["study"] = {STUDY: told["study"][STUDY] | {"title": NASTY, "figures": [], "tables": []}}
    write_json(tmp_path / "numbers.json", told)
    report = tmp_path / "report"
    report.mkdir()
    for folder in ("style", "sections", "references.bib"):
        (report / folder).symlink_to(REPORT / folder)
    (report / "paper.md.j2").write_text('---\ntitle: T\n---\n{% include "sections/explorer.md.j2" %}\n', "utf-8")
    source = Paper(report, tmp_path, "html").document()
    page = Page(source)
    cards = source[source.index('<div class="cards">') :]
    assert sum(tag == "details" and attrs.get("class") == "card" for tag, attrs in page.tags) == len(rows)
    assert len(re.findall("<script", cards)) == 1, "the page's own"
    assert "<h2" not in cards
    assert page.text.count(" ".join(NASTY.split())) == 4, "the study's title, and three texts of the claim"


def test_a_card_is_small(facts: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "numbers.json", facts)
    template = Paper(REPORT, tmp_path, "html")._environment.get_template("style/card.html.j2")
    made = [str(template.module.card_of(each)) for name in STUDIES for each in Cards(facts, set()).cards(name)]
    assert sum(map(len, made)) / len(made) < 2500
