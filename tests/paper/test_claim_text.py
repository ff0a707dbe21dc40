"""Claims in words: what is asked, published and found, in tables, prose and terminal."""

import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fake_document import STUDIES, STUDY, document

from mlpaper.cli import cli
from mlpaper.errors import MlpaperError, RenderError
from mlpaper.files import write_parquet
from mlpaper.paper.claim_text import Claims, Row, counts, described, show
from mlpaper.study.ledger import DECIDED, as_table, expected_wrong


@pytest.fixture(scope="module")
def claims() -> Claims:
    return Claims(document(STUDIES, left_out=["M2"])["claims"], "md")


def without_interval(text: str) -> str:
    return re.sub(r" ± [\d.]+", "", text)


@pytest.mark.parametrize(
    ("name", "rule", "published", "ours"),
    [
        (
            f"{STUDY}.adam-over-momentum",
            "validation accuracy: M1b − M1a above 0",
            "+6.11 points",
            "+1.00 points",
        ),
        (
            f"{STUDY}.linear-schedule-changes-nothing",
            "validation accuracy: M1e − M1b within ±0.50 points",
            "+0.12 points",
            "+3.00 points",
        ),
        (f"{STUDY}.m0-87", "test accuracy of M0 within 0.50 points of the published", "87.45\u00a0%", "80.00 %"),
        (f"{STUDY}.parameters-m3b", "parameters of M3b within 500 of the published", "445,000", "111,791"),
        (
            f"{STUDY}.m0-overfits",
            "validation loss of M0 lowest between epochs 20 and 40, then rising by more than 0.005 nats",
            "–",
            "epoch 0.8",
        ),
        (
            "mnist-scaling.narrow-is-insufficient",
            "test accuracy of width-2 to width-16 (5 runs) at most 65.00\u00a0%",
            "–",
            "89.00 to 89.00\u00a0%",
        ),
        (
            "mnist-scaling.initialisation-order",
            "test accuracy, best first: init-xavier, init-he, init-uniform",
            "–",
            "89.00, 89.00, 89.00",
        ),
        (
            "fashion-hyperparameters.width-matters-more-than-depth",
            "validation accuracy: width-128 to width-4192 (5 runs) further apart than "
            "depth-1, depth-2, depth-3, depth-4",
            "–",
            "0.00 against 0.00 points",
        ),
        (
            "usaaio-classic.momentum-speed",
            "epochs to the final validation accuracy of baseline: baseline takes more than 1.5 times those of momentum",
            "2 times",
            "1.00 times",
        ),
        ("residual-depth.plain-gradients-vanish", None, "–", "+0.00"),
        (
            f"{STUDY}.adam-over-momentum-size",
            "validation accuracy: M1b − M1a within 0.50 points of the published",
            "+6.11 points",
            "+1.00 points",
        ),
        (
            f"{STUDY}.capacity-most-critical",
            "validation accuracy: M1g − M1b above M1b − M1a",
            "−5.12 points",
            "+4.00 points",
        ),
        (
            f"{STUDY}.implementations-differ-medium-as-coded",
            "accuracy at σ = 0.2: M1g-as-coded and M2-as-coded differ more with equal seeds than each between two "
            "seeds",
            "–",
            "1.87 points more than between seeds",
        ),
        (
            f"{STUDY}.l2-hurts-momentum",
            "validation accuracy: M1d − M1a below 0",
            "–",
            "−81.00 points",
        ),
        (
            "fashion-hyperparameters.high-rate-unstable",
            "rate-5e-2 diverges or ends near guessing, or its change of the validation accuracy from epoch to epoch is "
            "more than 2 times that of rate-2e-5",
            "–",
            "89.00 against 89.00 points",
        ),
        (
            "fashion-hyperparameters.diminishing-depth",
            "validation accuracy: depth-4 − depth-3 below 0.50 points",
            "–",
            "+0.00 points",
        ),
        (
            "fashion-hyperparameters.width-plateau",
            "validation accuracy of width-4192 better than that of width-2096 by at most 0.50 points",
            "–",
            "89.00 to 89.00\u00a0%",
        ),
        (
            "usaaio-classic.dropout-20-lifts-subset",
            "test accuracy: subset-dropout-20 − fashion-subset above 0.45 points and below 1.05 points",
            "–",
            "+0.00 points",
        ),
        (
            "mnist-scaling.xavier-faster-than-he",
            "epochs to a validation accuracy of 90.00\u00a0%: init-he takes more than 1 times those of init-xavier",
            "–",
            "1.00 times",
        ),
    ],
)  # fmt: skip
def test_a_claim_in_words(claims: Claims, name: str, rule: str | None, published: str, ours: str) -> None:
    row = claims.claim(*name.split("."))
    assert rule in (None, row.rule)
    assert (row.published, without_interval(row.ours)) == (published, ours)


def test_every_claim_has_words(claims: Claims) -> None:
    for row in claims.claims():
        assert row.rule
        assert row.ours
        assert "None" not in f"{row.rule} {row.ours} {row.published}"


def test_a_finding_ends_with_its_verdict_and_says_why_there_is_none(claims: Claims) -> None:
    assert claims.finding(STUDY, "adam-over-momentum") == (
        "validation accuracy, M1b − M1a: +1.00 ± 0.20 points (published: +6.11 points), **supported** "
        "(probability > 0.99)"
    )
    assert claims.finding(STUDY, "m2-88") == "**not run** (M2: PyTorch is not installed)"
    assert (
        Claims([claims.claim(STUDY, "m0-87").facts], "html")
        .verdict(STUDY, "m0-87")
        .endswith("{.verdict .not-reproduced}")
    )
    with pytest.raises(RenderError, match=r"did you mean `emnist-bymerge\.m0-87`"):
        claims.claim(STUDY, "m0-8")


def test_counts_are_of_every_verdict(claims: Claims) -> None:
    found = claims.verdicts()
    assert sum(found.values()) == len(claims.rows)
    assert found["not run"] == len([row for row in claims.claims() if "M2" in row.facts["runs"]])
    assert counts([]) == dict.fromkeys(found, 0)


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("emnist-bymerge.m0-87", "test accuracy, M0: 80.00 %"),
        (
            "mnist-scaling.medium-batches-best",
            "best test accuracy of batch-32 to batch-full (5 runs): batch-32, 89.00\u00a0%",
        ),
        (
            "mnist-scaling.initialisation-order",
            "test accuracy: init-xavier 89.00\u00a0%, init-he 89.00\u00a0%, init-uniform 89.00\u00a0%",
        ),
        (
            "fashion-hyperparameters.width-matters-more-than-depth",
            "largest minus smallest validation accuracy, width-128 to width-4192 (5 runs) against "
            "depth-1, depth-2, depth-3, depth-4: 0.00 against 0.00 points",
        ),
        (
            "usaaio-classic.momentum-speed",
            "epochs of baseline to its final validation accuracy, over those of momentum: 1.00 times",
        ),
        ("emnist-bymerge.m0-overfits", "lowest validation loss of M0: epoch 0.8"),
        ("emnist-bymerge.m3b-over-m0-size", "test accuracy, M3b − M0: +9.00 points"),
        (
            "emnist-bymerge.capacity-most-critical",
            "validation accuracy, (M1g − M1b) − (M1b − M1a): +4.00 points",
        ),
        (
            "emnist-bymerge.implementations-differ-medium-as-coded",
            "accuracy at σ = 0.2, M1g-as-coded and M2-as-coded with equal seeds: 1.87 points more than between seeds",
        ),
        (
            "mnist-scaling.xavier-faster-than-he",
            "epochs of init-he to a validation accuracy of 90.00\u00a0%, over those of init-xavier: 1.00 times",
        ),
        (
            "mnist-scaling.uniform-unstable",
            "change of the validation accuracy from epoch to epoch, init-uniform against init-xavier: "
            "89.00 against 89.00 points",
        ),
    ],
)
def test_a_finding_names_metric_runs_and_unit(claims: Claims, name: str, here: str) -> None:
    assert without_interval(claims.claim(*name.split(".")).here) == here


def test_claims_are_counted_by_kind(claims: Claims) -> None:
    ours, coded = "residual-depth.blocks-of-two", "emnist-bymerge.m0-87-as-coded"
    names = (ours, "emnist-bymerge.parameters-m0", coded, "emnist-bymerge.m0-87")
    kinds = {name: claims.claim(*name.split(".")).kind for name in names}
    assert list(kinds.values()) == ["ours", "arithmetic", "as coded", "source"]


def test_what_the_text_has_not_told_is_known() -> None:
    claims = Claims(document(STUDIES)["claims"], "md")
    assert claims.untold("usaaio-classic")[:2] == ["baseline-97", "momentum-speed"]
    claims.finding("usaaio-classic", "baseline-97")
    assert claims.untold("usaaio-classic")[0] == "momentum-speed"
    assert "m0-87" in claims.untold(STUDY)
    assert "m0-87-as-coded" not in claims.untold(STUDY)


def test_examples_hold_and_fail_and_the_named_come_first(claims: Claims) -> None:
    outcomes = [row.outcome for row in claims.examples(["usaaio-classic.pytorch-baseline", "another-study.a"])]
    assert outcomes == ["held"] * 3 + ["failed"] * 2
    assert claims.examples(["usaaio-classic.pytorch-baseline"])[0].facts["id"] == "pytorch-baseline"
    held = Claims([row.facts for row in claims.claims(None, "held")], "md")
    assert len(held.examples([])) == 5
    with pytest.raises(RenderError, match="did you mean"):
        claims.examples(["usaaio-classic.pytorch-baselin"])


def test_our_questions_parameters_and_second_readings_are_counted_apart(claims: Claims) -> None:
    kinds = {row.kind for row in claims.claims()}
    assert sum(sum(claims.verdicts(kind=kind).values()) for kind in kinds) == len(claims.rows)
    assert {row.facts["kind"] for row in claims.claims(kind="source")} == {"result", "explanation", "conclusion"}
    assert (len(claims.claims(kind="arithmetic")), len(claims.claims(kind="ours"))) == (4, 10)
    assert sum(claims.verdicts("residual-depth", kind="ours").values()) == 3
    assert claims.claims("residual-depth", kind="as coded") == []


def test_every_claim_of_a_source_says_where_it_is_made(claims: Claims) -> None:
    for row in claims.claims():
        assert (row.facts["place"] == "") == (row.facts["origin"] == "ours")
    explained = claims.claim("mnist-scaling", "exponential-too-fast")
    assert explained.source == (
        "results, learning rate schedules, overly rapid reduction; an explanation, tested by a control"
    )
    assert claims.claim("usaaio-classic", "deformations-help").source == "our question"


def test_the_ledger_is_printed(claims: Claims, tmp_path: Path) -> None:
    write_parquet(tmp_path / "claims.parquet", as_table([row.facts for row in claims.claims()]))
    asked = ["claims", str(tmp_path / "claims.parquet"), "--study", STUDY]
    done = CliRunner().invoke(cli, [*asked, "--long"])
    assert done.exit_code == 0, done.output
    assert "Adam beats gradient descent with momentum." in done.output
    assert "source: table 2 and section 5.2.3; as coded" in done.output
    assert "residual-depth" not in done.output
    *_, counted, second, wrong = done.output.strip().splitlines()
    assert counted == "parameter counts: 1 reproduced, 3 not reproduced"
    assert second.startswith("second readings, as coded: ")
    of_study = [row.facts for row in claims.claims(STUDY)]
    decided = sum(row["verdict"] in DECIDED for row in of_study)
    assert wrong == f"wrong by chance, on average: {expected_wrong(of_study):.1f} of {decided} decided verdicts"
    in_brief = CliRunner().invoke(cli, asked).output.splitlines()
    assert in_brief[0] == STUDY
    assert [line.split()[1] for line in in_brief[1 : len(of_study) + 1]] == [row["id"] for row in of_study]
    assert in_brief[-3:] == [counted, second, wrong]
    with pytest.raises(MlpaperError, match=r"the ledger has no `suported` .did you mean `supported`"):
        show([row.facts for row in claims.claims()], [], ["suported"])
    with pytest.raises(MlpaperError, match="is missing: snakemake --cores 4"):
        CliRunner().invoke(cli, ["claims", str(tmp_path / "none.parquet")], catch_exceptions=False)


@pytest.mark.parametrize("columns", [40, 80, 120, 200, None])
def test_a_terminal_of_any_width_breaks_no_word_and_loses_none(
    claims: Claims, columns: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [dict(row.facts) for row in claims.claims()]
    rows[0]["statement"] = "[bold]Not[/] [/a] {markup} $5"
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(rows, [], [], long=True)
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    if columns is not None:
        assert max(map(len, lines)) <= min(columns, 120)
    studies = {row["study"] for row in rows}
    printed = [word for line in lines if line not in studies for word in line.split()]
    wanted = [word for row in map(Row, rows) for word in described(row, None).split()]
    assert printed[: len(wanted)] == wanted
    counted = printed[len(wanted) : printed.index("wrong")]
    assert sum(int(word) for word in counted if word.isdecimal()) == len(rows), "of every group"
    for row in map(Row, rows):
        for part in (row.facts["statement"], row.rule, row.published, row.ours, row.facts["remark"]):
            assert part in described(row, None)
    assert (columns is None) == any(len(line) > 120 for line in lines), "a pipe gets every text on one line"


@pytest.mark.parametrize("columns", [20, 80, 200, None])
def test_in_brief_a_claim_is_one_line_that_fits(
    claims: Claims, columns: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show([row.facts for row in claims.claims()], [], ["supported", "not reproduced"])
    shown = [row for row in claims.claims() if row.facts["verdict"] in ("supported", "not reproduced")]
    lines = [line for line in click.unstyle(capsys.readouterr().out).splitlines() if line.startswith(("✓", "✗"))]
    assert len(lines) == len(shown)
    for line, row in zip(lines, shown, strict=True):
        if columns is None or not line.endswith("…"):
            assert line.split()[:2] == [row.mark, row.facts["id"]]
            assert line.endswith(f"{row.published})".replace("\u00a0", " ")) == (row.facts["published"] is not None)
        assert columns is None or len(line) <= columns
    assert any(line.endswith("…") for line in lines) == (columns in (20, 80))


def test_a_row_reads_back_its_claim(claims: Claims) -> None:
    facts = as_table([claims.claim(STUDY, "m3b-best").facts]).to_pylist()[0]
    assert Row(facts).claim.named_runs == ("M0", "M1g", "M2", "M3b")
