"""What is published agrees with itself and with the pages: in this repository, and of made-up results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from fake_document import ROOT, STUDY, document

from mlpaper.cli import cli
from mlpaper.errors import MlpaperError
from mlpaper.files import write_json, write_parquet
from mlpaper.machine import machine, versions
from mlpaper.paper import publish as publishing
from mlpaper.paper.published import CLAIMS, GALLERY, PAGES, PAPER, PROVENANCE, PYTORCH, RUNS, Published, filled, pytorch
from mlpaper.study.ledger import VERDICTS, as_table

STUDIES = (STUDY, "residual-depth")
SHOWN = ("residual-depth-depth", "emnist-bymerge-noise")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished results with three seeds, of which M1d diverged with each; not to be changed."""
    folder = tmp_path_factory.mktemp("project") / "results"
    facts = document(STUDIES)
    metrics = pd.DataFrame(rows_of(facts["numbers"]))
    number = int(metrics["run_id"].nunique())
    places = [{"name": name, "gpu": name == "G", "runs": runs} for name, runs in (("P", number - 3), ("G", 3))]
    facts["provenance"] |= {"machine": machine(), "versions": versions(), "runs": number, "trained_on": places}
    facts["provenance"] |= {"seconds": float(metrics.loc[metrics["metric"] == "seconds", "value"].sum())}
    for study, of_study in metrics.groupby("study"):
        table = pa.Table.from_pandas(of_study.drop(columns="study"), preserve_index=False)
        write_parquet(folder / "studies" / str(study) / "runs.parquet", table)
    write_parquet(folder / "claims.parquet", as_table(facts["claims"]))
    write_json(folder / "numbers.json", facts)
    for kind, study in ((kind, study) for kind in ("figures", "tables") for study in facts["study"].values()):
        for name in study[kind]:
            about = {"commit": "b" * 40, "date": "2025-11-19T12:00:00+00:00", "dirty": name == SHOWN[0]}
            write_json(folder / kind / f"{name}.json", about)
            (folder / kind / f"{name}.svg").write_text(f"<svg><title>{name}</title></svg>")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7")
    return folder


def rows_of(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, entry in numbers.items():
        study, run, metric = key.split(".", 2)
        about = {"study": study, "run": run, "metric": metric}
        for seed, value in zip(entry["seeds"], entry["values"], strict=True):
            outcome = "diverged" if run == "M1d" else "finished"
            rows.append(about | {"seed": seed, "run_id": f"{study}-{run}-{seed}", "outcome": outcome, "value": value})
    return rows


def project_in(folder: Path) -> Path:
    """The pages of this repository, with two figures in the gallery."""
    for name in (*PAGES, PYTORCH):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / GALLERY).mkdir()
    for name in SHOWN:
        (folder / GALLERY / f"{name}.svg").write_text("an old figure")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_in(tmp_path)


@pytest.fixture(scope="module")
def made(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up results, published by the command."""
    folder = project_in(tmp_path_factory.mktemp("published"))
    done = CliRunner().invoke(cli, ["publish", "--results", str(results), "--into", str(folder)])
    assert done.exit_code == 0, done.output
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {str(PYTORCH)}
    assert set(done.stdout.split()) == written
    return folder


@pytest.fixture(params=["repository", "made-up"])
def repository(request: pytest.FixtureRequest) -> Path:
    """Where results are published."""
    if request.param == "made-up":
        return Path(request.getfixturevalue("made"))
    if not (ROOT / CLAIMS).exists():
        pytest.skip(f"{CLAIMS} does not exist: this repository has published no results yet (mlpaper publish)")
    return ROOT


def test_the_pages_say_what_the_published_files_say(repository: Path) -> None:
    published = Published.read(repository)
    for page in PAGES:
        assert (repository / page).read_text() == filled(published, repository / page), (
            "mlpaper publish writes it again"
        )


def test_the_files_are_those_that_were_published_together(repository: Path) -> None:
    told = json.loads((repository / PROVENANCE).read_text())["files"]
    assert {name: hashlib.sha256((repository / name).read_bytes()).hexdigest() for name in told} == told
    assert {repository / name for name in told} >= {*(repository / GALLERY).glob("*.svg"), repository / PAPER}
    for path, most in publishing.MOST_BYTES.items():
        content = (repository / path).read_bytes()
        assert len(content) <= most
        assert path == PAPER or b"\r" not in content


def test_the_tables_agree_with_each_other(repository: Path) -> None:
    published = Published.read(repository)
    runs = {(row["study"], row["run"], row["seed"]): row for row in published.runs}
    assert len(runs) == len(published.runs)
    once = {row["run_id"]: float(row["seconds"]) for row in published.runs}
    assert len(once) == published.provenance["runs"] == sum(it["runs"] for it in published.provenance["trained_on"])
    assert sum(once.values()) == pytest.approx(published.provenance["seconds"], abs=0.1)
    assert (
        {row["study"] for row in published.runs} == {row["study"] for row in published.claims} == {*published.studies}
    )
    assert len({(row["study"], row["id"]) for row in published.claims}) == len(published.claims)
    for row in published.claims:
        assert row["verdict"] in VERDICTS
        assert row["probability"] is None or 0 <= row["probability"] <= 1
        seeds = [
            {seed for study, of, seed in runs if (study, of) == (row["study"], run)} for run in row["runs"].split()
        ]
        assert row["verdict"] == "not run" or len(set.intersection(*seeds)) == int(row["seeds"])


def test_csv_holds_the_results(made: Path, results: Path) -> None:
    facts = json.loads((results / "numbers.json").read_text())
    runs = pd.read_csv(made / RUNS).set_index(["study", "run", "seed"])
    assert runs.loc[(STUDY, "M1b", 0), ["test_accuracy", "parameters"]].tolist() == [0.82, 111_791]
    assert runs.loc[(STUDY, "M1d", 0), ["outcome", "epochs"]].tolist() == ["diverged", 0.84]
    assert pd.isna(runs.loc[(STUDY, "M1d", 0), "test_accuracy"])
    assert list(runs)[:4] == ["run_id", "outcome", "test_accuracy", "macro_f1"]
    assert list(runs)[-1] == "noise_accuracy_0.5"
    claims = pd.read_csv(made / CLAIMS, keep_default_na=False)
    assert claims["statement"].tolist() == [row["statement"] for row in facts["claims"]]
    assert Counter(claims["verdict"]) == Counter(row["verdict"] for row in facts["claims"])
    value = claims.set_index("id").loc["m0-87"]
    assert (value["published"], value["published_text"], value["ours_text"]) == ("0.8745", "87.45 %", "80.00 ± 0.16 %")
    assert value["rule_text"] == "test accuracy of M0 within 0.50 points of the published"


def test_the_readme_counts_the_claims_of_the_sources(made: Path, results: Path) -> None:
    facts = json.loads((results / "numbers.json").read_text())
    counted = Counter(
        row["verdict"]
        for row in facts["claims"]
        if row["reading"] == "as written" and row["kind"] not in ("ours", "arithmetic")
    )
    text = (made / "README.md").read_text()
    head, total = (re.search(rf"^\| {word} \|.*$", text, re.MULTILINE)[0] for word in ("study", r"\*\*all\*\*"))
    cells = ([cell.strip(" *") for cell in line.strip("|").split("|")][2:] for line in (head, total))
    assert dict(zip(*cells, strict=True)) == {verdict: str(number) for verdict, number in counted.items()}
    assert "175 runs" not in text, "the text that was there before"
    assert f"at commit `{'b' * 7}` with uncommitted changes" in (made / "docs/results.md").read_text()
    assert (made / GALLERY / f"{SHOWN[0]}.svg").read_text() == f"<svg><title>{SHOWN[0]}</title></svg>"


def test_a_changed_number_is_found(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "changed")
    claims = tmp_path / "changed" / CLAIMS
    claims.write_text(claims.read_text().replace(",supported,", ",contradicted,", 1))
    for found in (
        test_the_pages_say_what_the_published_files_say,
        test_the_files_are_those_that_were_published_together,
    ):
        with pytest.raises(AssertionError):
            found(tmp_path / "changed")


def test_ours_are_compared_with_pytorch_s_on_the_same_data(made: Path) -> None:
    published = Published.read(made)
    accuracies = {"M1b": [84.4, 82.8], "M3b": [71.4, 71.6], "a run that was left out": [50.0]}
    given = {"origin": "By hand", "study": STUDY, "data": "emnist_bymerge.test", "test_accuracy": accuracies}
    text = pytorch(replace(published, pytorch=given))
    assert "| `M1b` | 84.4, 82.8 | 82.0, 82.1, 81.9 | 82.00 ± 0.25 | −1.6 |" in text
    assert "| `M3b` | 71.4, 71.6 | 89.0, 89.1, 88.9 | 89.00 ± 0.25 | +17.5 |" in text
    assert "left out" not in text
    assert "The means differ by 1.6 to 17.5 points." in text
    assert pytorch(replace(published, pytorch=given | {"data": "emnist_bymerge"})) == ""
    assert {
        run for run in published.pytorch["test_accuracy"] if not published.values(STUDY, run, "test_accuracy")
    } == set()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda results: (results / "paper.pdf").write_bytes(bytes(4_000_001)), "4,000,001 bytes"),
        (lambda results: os.utime(results / "paper.pdf", (0, 0)), "paper.pdf is older than"),
        (lambda results: (results / "figures" / f"{SHOWN[0]}.svg").unlink(), f"{SHOWN[0]}.svg is missing"),
        (lambda results: (results / "studies" / STUDY / "runs.parquet").unlink(), "runs.parquet is missing"),
        (lambda results: write_parquet(results / "claims.parquet", as_table([])), "does not hold the claims"),
    ],
    ids=["too large", "old paper", "no figure", "no table", "old numbers"],
)
def test_unfinished_results_are_refused_and_nothing_is_written(
    spoil: Any, message: str, results: Path, project: Path
) -> None:
    shutil.copytree(results, project / "results", copy_function=shutil.copy2)
    spoil(project / "results")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(MlpaperError, match=re.escape(message)):
        publishing.publish(project / "results", project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- results: summary -->", "<!-- results: sumary -->", "no text `sumary` (did you mean `summary`?)"),
        ("<!-- end of results: summary -->", "", "no line <!-- end of results: summary --> ends the text"),
        ("<!-- results: summary -->", "", "has no line <!-- results: summary -->, where the results belong"),
    ],
)
def test_a_page_without_a_place_for_its_text_is_refused(
    old: str, new: str, message: str, results: Path, project: Path
) -> None:
    page = project / "README.md"
    page.write_text(page.read_text().replace(old, new))
    with pytest.raises(MlpaperError, match=re.escape(message)):
        publishing.publish(results, project)
