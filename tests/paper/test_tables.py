from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pandas as pd
import pypandoc
import pytest

from mlpaper.files import write_parquet
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables import build
from mlpaper.paper.tables.table import Column, Table
from mlpaper.spec import PoolSpec, RunSpec, StoppingSpec
from mlpaper.study.expansion import merge
from mlpaper.study.left_out import LeftOut

Make = Callable[..., ItemJob]
NBSP = "\u00a0"


def shown(make_job: Make, stem: Path, **item: Any) -> list[dict[str, str]]:
    """The Markdown table as rows by heading; a repeated heading gets a number."""
    build(make_job(**item), stem)
    lines = [line for line in stem.with_suffix(".md").read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace(NBSP, " ") for cell in line.strip("|").split(" | ")] for line in lines]
    head = [
        f"{title} {rows[0][:i].count(title) + 1}" if rows[0].count(title) > 1 else title
        for i, title in enumerate(rows[0])
    ]
    return [dict(zip(head, row, strict=True)) for row in rows[2:]]


def test_runs_have_hand_computed_means_intervals_and_paired_differences(make_job: Make, stem: Path) -> None:
    item = {"runs": ["M0", "M1g", "M1d", "M1a"], "columns": ["test_accuracy", "outcome"], "baseline": "M0"}
    m0, m1g, m1d, m1a = shown(make_job, stem, kind="runs", **item)
    # 86, 87, 88: s = 1, t(2) = 4.302653, half-width 4.302653 / sqrt(3) = 2.484138
    assert m0["test accuracy (%)"] == "87.00 ± 2.48"
    # 90, 92: s = sqrt(2), t(1) = 12.706205, half-width 12.706205
    assert m1g["test accuracy (%)"] == "91.00 ± 12.71"
    # by seed 90 - 86 and 92 - 87, so 4 and 5: mean 4.5 (of all seeds it would be 4.0), half-width 12.706205 / 2
    assert m1g["difference to M0 (points)"] == "+4.50 ± 6.35"
    assert (m1g["published 1"], m1g["published 2"]) == ("88.58", "+1.13")
    assert m0["difference to M0 (points)"] == "–"
    assert m1d["test accuracy (%)"] == m1d["outcome"] == "diverged"
    assert m1a["test accuracy (%)"] == "81.00 ± 12.71 (1 of 3 diverged)"
    assert m1a["outcome"] == "1 diverged, 2 finished"

    raw = pd.read_parquet(stem.with_suffix(".parquet")).set_index(["run", "metric"])
    assert raw.loc[("M0", "test_accuracy"), "mean"] == pytest.approx(0.87, abs=1e-12)
    assert raw.loc[("M1g", "test_accuracy - M0"), "half_width"] == pytest.approx(0.06353102, abs=1e-8)
    assert pd.isna(raw.loc[("M1d", "test_accuracy"), "mean"])


def test_published_columns_stand_only_where_something_was_published(make_job: Make, stem: Path) -> None:
    rows = shown(make_job, stem, kind="runs", runs=["M0"], columns=["hidden", "optimizer", "macro_f1", "parameters"])
    expected = {"hidden layers": "128, 64", "optimiser": "SGD, momentum 0.9", "test macro-F1 (%)": "84.00 ± 2.48"}
    assert rows == [{"run": "M0"} | expected | {"parameters": "111,791"}]


def test_noise_has_a_row_of_published_values(make_job: Make, stem: Path) -> None:
    m0, published, m1d = shown(make_job, stem, kind="noise", runs=["M0", "M1d"])
    assert list(m0)[1:] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert (m0["0.0"], published["0.0"], published["0.3"], m1d["0.5"]) == ("87.00 ± 2.48", "87.45", "–", "diverged")


def test_placements_are_medians_over_seeds_and_dashes_where_nothing_was_measured(make_job: Make, stem: Path) -> None:
    (folders,) = make_job(kind="placements", run="M0").runs.values()
    nothing = {"placement": [], "batch_size": [], "seconds_per_epoch": [], "device_memory": [], "images": []}
    for folder in folders:
        write_parquet(Path(folder) / "placements.parquet", nothing)
    (row,) = shown(make_job, stem, kind="placements", run="M0")
    assert set(row.values()) == {"–"}
    assert "Not measured: the paper was made without a GPU." in stem.with_suffix(".md").read_text()
    for folder, seconds in zip(folders, (0.25, 0.5, 8.0), strict=True):
        cells = {"placement": ["resident", "streamed"], "batch_size": [512, 512], "images": [566_667] * 2}
        cells |= {"seconds_per_epoch": [seconds, 2 * seconds], "device_memory": [1200.4, 30.0]}
        write_parquet(Path(folder) / "placements.parquet", cells)
    (row,) = shown(make_job, stem, kind="placements", run="M0")
    assert list(row.values()) == ["512", "0.500", "1,200", "1.000", "30"]
    assert list(row)[1:3] == ["resident, s per epoch", "resident, MiB on the device"]
    assert "over 566,667 images" in stem.with_suffix(".md").read_text()


def test_split_counts_every_part_and_their_total(make_job: Make, stem: Path) -> None:
    job = make_job(kind="split")
    rows = {row["part"]: row for row in shown(make_job, stem, kind="split")}
    split = job.indices()
    assert rows["train"]["images"] == f"{len(split.train):,}"
    assert rows["total"] == {
        "part": "total", "images": "5,928", "share (%)": "100.00", "smallest class": "40", "largest class": "216",
    }  # fmt: skip


def test_settings_that_all_runs_share_move_into_the_note(make_job: Make, stem: Path) -> None:
    rows = {row["run"]: row for row in shown(make_job, stem, kind="settings")}
    assert rows["M1d"]["L2 λ"] == "0.01"
    assert (rows["M1g"]["patience"], rows["M0"]["patience"]) == ("5", "none")
    assert "batch size" not in rows["M0"]
    assert "batch size 512" in stem.with_suffix(".md").read_text()
    raw = pd.read_parquet(stem.with_suffix(".parquet")).set_index("run")
    assert raw.loc["M0", "optimizer.momentum"] == 0.9
    assert raw.loc["M1g", "early_stopping.patience"] == 5


def test_a_run_that_is_left_out_keeps_its_row(make_job: Make, stem: Path) -> None:
    item = {"runs": ["M2", "M0"], "columns": ["test_accuracy", "hidden", "outcome"], "baseline": "M2"}
    m2, m0 = shown(make_job, stem, kind="runs", **item)
    assert (m2["test accuracy (%)"], m2["hidden layers"], m2["outcome"]) == ("not run", "400, 240, 120", "not run")
    assert (m0["test accuracy (%)"], m0["difference to M2 (points)"]) == ("87.00 ± 2.48", "–")
    assert stem.with_suffix(".md").read_text().rstrip().endswith("Not run: M2 (PyTorch is not installed).")
    assert "over 3 seeds" in stem.with_suffix(".md").read_text()
    assert pd.read_parquet(stem.with_suffix(".parquet")).set_index("run").loc["M2", "seeds"] == 0
    for kind in ("runs", "noise"):
        (m2,) = shown(make_job, stem, kind=kind, runs=["M2"], **{"columns": ["macro_f1"]} if kind == "runs" else {})
        assert next(iter(m2.values())) == "M2"
    m2, *_ = shown(make_job, stem, kind="noise", runs=["M2", "M1d", "M0"])
    assert set(list(m2.values())[1:]) == {"not run"}


def test_settings_of_a_run_that_is_left_out_are_shown(
    make_job: Make, stem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(kind="settings")
    absent = LeftOut(spec=fakes.TWIN, because="PyTorch is not installed")
    build(job.model_copy(update={"runs": job.runs | {"M2": ()}, "left_out": {"M2": absent}}), stem)
    text = stem.with_suffix(".md").read_text()
    assert re.search(r"\| M2 \(not run\) +\| digits +\| 400, 240, 120", text)
    assert text.rstrip().endswith("Not run: M2 (PyTorch is not installed).")


@pytest.mark.parametrize(
    ("column", "changes", "said"),
    [
        ("hidden layers", {"network": {"hidden": [32] * 30}}, "30 × 32"),
        ("hidden layers", {"network": {"hidden": []}}, "none"),
        ("in hidden layers", {"network": {"batch_norm": True, "dropout": 0.3}}, "batch norm, dropout 0.3"),
        ("in hidden layers", {"network": {"hidden": [8, 8, 8], "residual": 2}}, "residual, every 2 layers"),
        ("initialisation", {"network": {"initializer": {"bound": 0.5, "biases": True}}}, "uniform ±0.5, biases too"),
        ("initialisation", {"network": {"initializer": "pytorch"}}, "PyTorch's default"),
        ("pixels", {"input": {"mean": 0.1307, "std": 0.3081}}, "(x − 0.1307) / 0.3081"),
        ("augmentation", {"augmentation": {"shift": 2, "rotation": 10}}, "shift ≤ 2 px, rotation ≤ 10°"),
        ("loss", {"loss": {"name": "squared_error"}}, "squared error"),
        ("optimiser", {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}}, "SGD, Nesterov momentum 0.9"),
        ("schedule", {"schedule": {"name": "step", "every": 100, "gamma": 0.5}}, "× 0.5 every 100 epochs"),
        (
            "schedule",
            {"schedule": {"name": "cosine", "per": "step", "warmup": 10}},
            "cosine to 0, after 10 updates of warm-up",
        ),
        ("L2 λ", {"decay": {"l2": 1e-4}}, "0.0001"),
        ("L2 λ", {"decay": {"l2": 0.01, "parameters": "all"}}, "0.01 (all)"),
        ("decoupled decay", {"decay": {"decoupled": 0.01}}, "0.01"),
        ("gradient norm", {"clip_norm": 1.0}, "at most 1"),
        ("batch size", {"batch_size": "full"}, "full"),
        ("epochs", {"epochs": 1000, "updates": 1000}, "1,000 (at most 1,000 updates)"),
        ("engine", {"engine": "torch"}, "PyTorch"),
        (
            "data",
            {"dataset": {"name": "mnist"}, "split": {"scheme": "official", "subset": 6000}},
            "MNIST, 6,000 training images",
        ),
    ],
)
def test_settings_tell_whatever_a_run_changes(
    column: str, changes: dict[str, Any], said: str, make_job: Make, stem: Path
) -> None:
    job = make_job(kind="settings")
    base = RunSpec(dataset=PoolSpec(name="emnist_bymerge"))
    values = merge(base.model_dump(mode="json"), {"optimizer": {"name": "adam"}} | changes)
    absent = {
        name: LeftOut(spec=spec, because="no time")
        for name, spec in (("A", base), ("B", RunSpec.model_validate(values)))
    }
    job = job.model_copy(update={"runs": {"A": (), "B": ()}, "left_out": absent})
    build(job, stem)
    lines = [line for line in stem.with_suffix(".md").read_text().splitlines() if line.startswith("|")]
    head, _, _, changed = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert dict(zip(head, changed, strict=True))[column].replace(NBSP, " ") == said
    always = {"run", "hidden layers", "optimiser", "learning rate"}
    assert set(head) <= {column} | always, "nothing else differs"
    for other in ("augmentation", "engine", "dropout", "decoupled"):
        assert column == other or other not in stem.with_suffix(".md").read_text().split("All runs")[1]


def test_settings_name_the_gain_beside_the_patience_where_it_differs(make_job: Make, stem: Path) -> None:
    specs = {
        name: RunSpec(dataset=PoolSpec(name="mnist"), early_stopping=StoppingSpec(patience=patience, min_delta=gain))
        for name, patience, gain in (("A", 5, 1e-4), ("B", 7, 0.0))
    }
    absent = {name: LeftOut(spec=spec, because="no time") for name, spec in specs.items()}
    job = make_job(kind="settings").model_copy(update={"runs": {"A": (), "B": ()}, "left_out": absent})
    build(job, stem)
    text = stem.with_suffix(".md").read_text().replace(NBSP, " ")
    assert r"5 (\> 0.0001) |" in text
    assert " 7 |" in text
    assert "Patience is in epochs without a better validation loss; the last epoch's weights are kept." in text


def test_wide_tables_break_their_long_columns_in_latex() -> None:
    def columns(*widths: int) -> tuple[Column, ...]:
        return tuple(Column("c", ("x" * width,), numeric=width < 5) for width in widths)

    def specification(*widths: int) -> str:
        return Table(columns(*widths), []).latex().splitlines()[1]

    assert specification(20, 40, 3).endswith("{llr}")
    assert re.fullmatch(r".*\{(>\{[^}]*\}p\{0\.\d+\\linewidth\}){2}lr\}", specification(120, 60, 10, 4))
    shares = [float(share) for share in re.findall(r"p\{([\d.]+)", specification(30, 30, 30, 30, 4))]
    assert len(shares) == 4
    assert sum(shares) < 1


def test_entries_of_the_study_file_and_the_watermark(make_job: Make, stem: Path) -> None:
    entry = {"what": "patience", "text": "5", "code": "10 | `l_2`", "runs": ["M0", "M1a"]}
    assert shown(make_job, stem, kind="differences", entries=(entry,), watermark="Demo scale") == [
        {"point": "patience", "in the text": "5", "in the code": r"10 \| \`l\_2\`", "runs": "M0, M1a"}
    ]
    assert stem.with_suffix(".md").read_text().endswith("\nDemo scale.\n")
    choice = {"what": "seed", "choice": "0", "reason": "none given"}
    assert shown(make_job, stem, kind="open-choices", entries=(choice,)) == [
        {"open point": "seed", "choice": "0", "reason": "none given"}
    ]


def test_special_characters_come_back_from_pandoc_as_they_were() -> None:
    text = r"a|b a_b_c *x* [y](z) <i> $m$ ~t~ ^u^ @k \n 50 % & {c}"
    table = Table((Column("run", (text,)), Column("n", ("1 ± 2",), numeric=True)), [])
    plain = pypandoc.convert_text(table.markdown(), "plain", "markdown-smart", extra_args=["--columns=200"])
    assert text in plain
    tabular = pypandoc.convert_text(table.latex(), "plain", "latex", extra_args=["--columns=200"])
    assert r"a|b a_b_c *x* [y](z)" in tabular
    assert r"\n 50 % & {c}" in tabular
    assert r"50 \% \& \{c\}" in table.latex()
    assert r"1~$\pm$~2" in table.latex()


def test_a_table_is_a_page_of_its_own(tmp_path: Path) -> None:
    columns = (Column("run", ("a < b", "`code`")), Column("%", ("1 000", "2"), numeric=True))
    Table(columns, [], "A note & more.").write(tmp_path / "item", "A <title>")
    page = (tmp_path / "item.html").read_text()
    assert "<title>A &lt;title&gt;</title>" in page
    assert "<td>a &lt; b</td>" in page
    assert "<td>`code`</td>" in page
    assert f'<td class="number">1{NBSP}000</td>' in page
    assert "A note &amp; more." in page
    assert not re.search(r"""(?:src|href)=""", page)
