"""The numbers of the paper: from the folders of runs to `numbers.json`, and what the prose makes of diverged seeds."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlpaper.data.split import Split
from mlpaper.files import write_parquet
from mlpaper.paper.job import NumbersJob, StudyJob
from mlpaper.paper.macros import Numbers
from mlpaper.paper.numbers import numbers
from mlpaper.study.results import Results


@pytest.fixture
def document(runs: dict[str, tuple[str, ...]], digits: Path, tmp_path: Path) -> dict[str, Any]:
    table = tmp_path / "runs.parquet"
    metrics = Results(runs).metrics(noisy=["M0"])
    write_parquet(table, pa.Table.from_pandas(metrics, preserve_index=False))
    study = StudyJob(
        name="s", title="T", summary="S", authors="A", year=2025, citation="c", code=None, runs=runs, descriptions={},
        published={"M0.test_accuracy": 0.8745, "M1d.test_accuracy": 0.8}, figures=(), tables=(), table=str(table),
        pool=str(digits), split=str(digits / "split.npz"),
    )  # fmt: skip
    return numbers(NumbersJob(studies=(study,), scale="paper", watermark=None, seeds=(0, 1, 2), command="snakemake"))


def test_means_intervals_and_their_runs(document: dict[str, Any]) -> None:
    entry = document["numbers"]["s.M0.test_accuracy"]
    assert (entry["mean"], entry["n"], entry["published"]) == (pytest.approx(0.87), 3, 0.8745)
    assert entry["half_width"] == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert entry["runs"] == ["M0-s0", "M0-s1", "M0-s2"]
    assert "s.M0.noise_accuracy_0.2" in document["numbers"]
    assert "s.M1g.noise_accuracy_0.2" not in document["numbers"], "it was not asked for, though its file is there"


def test_the_dataset_is_counted_over_its_split(document: dict[str, Any], digits: Path) -> None:
    split, pool = Split.read(digits / "split.npz"), document["pools"]["s"]
    assert pool["count"] == len(split.train) + len(split.validation) + len(split.test) == 1797
    assert pool["imbalance"] == pytest.approx(pool["largest_count"] / pool["smallest_count"])


def test_diverged_seeds_are_told_where_they_matter(document: dict[str, Any]) -> None:
    prose = Numbers(document, "md")
    assert "(over 2 of 3 seeds, the others diverged)" in prose.num("s.M1a.test_accuracy")
    assert prose.num("s.M1a.parameters").startswith("111,791")
    assert "over" not in prose.num("s.M1a.parameters"), "a diverged seed has as many parameters as any other"
    assert prose.num("s.M1d.test_accuracy") == "diverged"
    assert "(over 2 of 3 seeds)" in prose.difference("s", "M0", "M1a", "test_accuracy")
    assert prose.relation("s", "M0", "M1d", "test_accuracy") == "diverged"
    assert prose.relation("s", "M0", "M1a", "test_accuracy") in ("above", "level")
