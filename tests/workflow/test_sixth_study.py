"""The study that the documentation walks through is whole: saved as a file, the pipeline builds it."""

import re
from pathlib import Path

import pandas as pd
import pytest
from project import ROOT, Project

from mlpaper.study.ledger import VERDICTS

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def walkthrough() -> str:
    text = (ROOT / "docs" / "how-to" / "study.md").read_text()
    (study,) = re.findall(r"^```yaml\n(name: activations\n.*?)^```", text, re.DOTALL | re.MULTILINE)
    return study


def test_a_sixth_study_is_a_sixth_file(built: Project) -> None:
    (built.folder / "workflow" / "studies" / "activations.yaml").write_text(walkthrough())
    outcome = built.snakemake("results/paper.md", config=("scale=tiny", "studies=[activations]", "pdf=none"))
    assert outcome.code == 0, outcome.output
    assert outcome.jobs["train"] == 4
    results = built.folder / "results"
    ledger = pd.read_parquet(results / "studies" / "activations" / "claims.parquet")
    assert list(ledger["id"]) == ["tanh-over-sigmoid", "sigmoid-gradients-shrink"]
    assert set(ledger["verdict"]) <= set(VERDICTS) - {"not run"}
    page = (results / "paper.md").read_text()
    assert "Hyperbolic units end above logistic ones." in page
    for item in ("figures/activations-units.svg", "figures/activations-gradients.svg"):
        assert item in page
        assert (results / item).stat().st_size > 1000
    assert Path(results / "tables" / "activations-claims.md").read_text().count("One seed, no interval") == 1
