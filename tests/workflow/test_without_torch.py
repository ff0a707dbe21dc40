"""Runs of the engine `torch`, where PyTorch is not installed and where it is."""

import importlib.util

import pandas as pd
import pytest
from project import Project

from mlpaper.files import read_json
from mlpaper.study.plan import load_plan

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

NOTICE = "1 of 3 runs are left out: PyTorch is not installed (T)."
PAPER = "results/paper.md"


def test_without_pytorch_its_runs_are_marked_and_with_it_they_are_made(built: Project) -> None:
    built.add_twin()
    built.hide_torch()
    outcome = built.snakemake(PAPER)
    assert outcome.code == 0, outcome.output
    assert outcome.output.count(NOTICE) == 1
    assert "`make twin` or `pip install torch` mends it" in outcome.output
    assert not {"train", "evaluate", "robustness", "gradients"} & set(outcome.jobs), "those of A and B are there"
    results = built.folder / "results"
    table = (results / "tables" / "tiny-curves.md").read_text().replace("\u00a0", " ")
    assert len([line for line in table.splitlines() if line.startswith("| T ") and "not run" in line]) == 1
    assert "Not run: T (PyTorch is not installed)." in table
    paper = (built.folder / PAPER).read_text()
    for caption in ("Curves of both.", "Noise.", "Gradients of A."):
        assert f"{caption} Not run: T (PyTorch is not installed)." in paper
    assert "Left out: tiny.T (PyTorch is not installed)." in paper
    assert built.plan(PAPER) == {}

    config = {"scale": "tiny", "studies": ["tiny"], "twin": "always"}
    (twin,) = load_plan(config, built.folder / "workflow").names["tiny"]["T"]
    asked = built.snakemake(f"results/runs/{twin}/run.json")
    assert asked.code != 0
    log = results / "logs" / "train" / f"{twin}.log"
    assert "this run is PyTorch's, which is not installed: make twin" in " ".join(log.read_text().split())

    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed (make twin)")
    built.show_torch()
    metrics = "results/studies/tiny/runs.parquet"
    figures = [f"results/figures/tiny-{name}" for name in ("noise", "gradients")]
    outcome = built.snakemake("results/tables/tiny-curves.md", metrics, *(f"{stem}.svg" for stem in figures))
    assert outcome.code == 0, outcome.output
    assert "left out" not in outcome.output
    assert (outcome.jobs["train"], outcome.jobs["robustness"], outcome.jobs["gradients"]) == (1, 1, 1)
    table = pd.read_parquet(built.folder / metrics)
    accuracy = table[table["metric"] == "test_accuracy"].set_index("run")["value"]
    assert accuracy["T"] == pytest.approx(accuracy["A"], abs=0.02), "the same weights and batches"
    assert "Not run" not in (results / "tables" / "tiny-curves.md").read_text()
    for stem in figures:
        assert "Not run" not in read_json((built.folder / stem).with_suffix(".json"))["caption"]
    initial = [pd.read_parquet(path).query("moment == 'initialisation'") for path in results.glob("runs/*/grad*")]
    pd.testing.assert_frame_equal(*initial)
