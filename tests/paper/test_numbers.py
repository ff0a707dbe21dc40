"""The numbers of the paper: from the folders of runs to `numbers.json`, and what the prose makes of diverged seeds."""

from pathlib import Path
from typing import Any

import fakes
import pyarrow as pa
import pytest

from mlpaper.data.split import Split
from mlpaper.files import write_parquet
from mlpaper.paper.jobs import NumbersJob, StudyJob
from mlpaper.paper.macros import Numbers
from mlpaper.paper.numbers import numbers, trained_on
from mlpaper.study.ledger import as_table
from mlpaper.study.left_out import LeftOut
from mlpaper.study.results import Results


@pytest.fixture
def document(runs: dict[str, tuple[str, ...]], digits: Path, tmp_path: Path) -> dict[str, Any]:
    table = tmp_path / "runs.parquet"
    metrics = Results(runs).metrics({"M0": ["robustness"]})
    write_parquet(table, pa.Table.from_pandas(metrics, preserve_index=False))
    ledger = tmp_path / "claims.parquet"
    write_parquet(ledger, as_table([]))
    published = {"M0.test_accuracy": 0.8745, "M1d.test_accuracy": 0.8, "M2.test_accuracy": 0.88}
    study = StudyJob(
        name="s", title="T", summary="S", authors="A", year=2025, citation="c", code=None, runs=runs | {"M2": ()},
        left_out={"M2": LeftOut(spec=fakes.TWIN, because="no PyTorch")}, descriptions={},
        published=published, figures=(), tables=(), table=str(table),
        claims=str(ledger),
        pool=str(digits), split=str(digits / "split.npz"),
    )  # fmt: skip
    job = NumbersJob(studies=(study,), scale="paper", watermark=None, seeds={"s": (0, 1, 2)}, command="snakemake")
    return numbers(job)


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


def test_what_trained_the_runs_is_told(document: dict[str, Any]) -> None:
    """A run names its machine; that on which the numbers are collected may be another."""
    provenance = document["provenance"]
    assert provenance["trained_on"] == [{"gpu": False, "name": "A processor", "runs": provenance["runs"]}]
    cpu, gpu = ({"device": device, "machine": {"processor": "P", "gpu": "G"}} for device in ("cpu", "gpu"))
    assert trained_on([gpu, cpu, cpu]) == [
        {"gpu": False, "name": "P", "runs": 2}, {"gpu": True, "name": "G", "runs": 1},
    ]  # fmt: skip


def test_diverged_seeds_are_told_where_they_matter(document: dict[str, Any]) -> None:
    prose = Numbers(document, "md")
    assert "(over 2 of 3 seeds, the others diverged)" in prose.num("s.M1a.test_accuracy")
    assert prose.num("s.M1a.parameters").startswith("111,791")
    assert "over" not in prose.num("s.M1a.parameters"), "a diverged seed has as many parameters as any other"
    assert prose.num("s.M1d.test_accuracy") == "diverged"
    assert "(over 2 of 3 seeds)" in prose.difference("s", "M0", "M1a", "test_accuracy")
    assert prose.relation("s", "M0", "M1d", "test_accuracy") == "diverged"
    assert prose.relation("s", "M0", "M1a", "test_accuracy") in ("above", "level")
    assert prose.each("s.M0.test_accuracy") == "86.00, 87.00 and 88.00\u00a0%"
    assert prose.each("s.M1a.test_accuracy") == "80.00 and 82.00\u00a0% (1 diverged)"
    assert prose.each("s.M1d.test_accuracy") == "diverged"
    many = {"metric": "test_accuracy", "mean": 0.5, "seeds": [*range(7)], "values": [0.9, *[0.1] * 5, 0.3]}
    of_many = Numbers(document | {"numbers": {"s.M0.test_accuracy": many}}, "md").each("s.M0.test_accuracy")
    assert of_many.replace("\u00a0", " ") == "10.00 % to 90.00 % (median 10.00 %, 7 seeds)"


def test_a_run_that_is_left_out_is_told_and_breaks_no_sentence(document: dict[str, Any]) -> None:
    prose, key = Numbers(document, "md"), "s.M2.test_accuracy"
    assert prose.num(key) == prose.num("s.M2.parameters") == "not run (no PyTorch)"
    assert prose.num("s.M2.noise_accuracy_0.1") == "not run (no PyTorch)"
    assert prose.difference("s", "M0", "M2", "test_accuracy") == "not run (no PyTorch)"
    assert prose.difference("s", "M2", "M1d", "test_accuracy") == "not run (no PyTorch)"
    assert prose.published(key).split() == ["88.00", "%"]
    assert prose.relation("s", "M0", "M2", "test_accuracy") == "missing"
    assert (prose.value(key), prose.has_number(key), prose.each(key)) == (None, False, "not run (no PyTorch)")
    assert prose.setting("s.M2.network.hidden") == "[400, 240, 120]"
    assert document["provenance"]["left_out"] == {"s.M2": "no PyTorch"}
