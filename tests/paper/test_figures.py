from __future__ import annotations

import importlib
import itertools
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pypdf
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mlpaper.files import write_parquet
from mlpaper.paper import style
from mlpaper.paper.figures import (
    class_distribution,
    class_scores,
    confused_pairs,
    confusion,
    curves,
    draw,
    gradient_norms,
    noise,
    pareto,
    reliability,
    step_loss,
)
from mlpaper.paper.figures.samples import representative
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import Results
from mlpaper.study.schema.items import CurvesFigure

Make = Callable[..., ItemJob]

ITEMS: dict[str, dict[str, Any]] = {
    "curves": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "confusion": {"run": "M0"},
    "noise": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "gradient-norms": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "samples": {"columns": 12},
    "class-distribution": {},
    "metric-dots": {"runs": ["M0", "M1g", "M1d", "M1a"], "metrics": ["test_accuracy", "accuracy_gap"]},
    "sweep": {
        "sweeps": ["width"],
        "metrics": ["test_accuracy", "seconds", "gradient_first_initial"],
        "runs": ["M0", "M1g", "M1d", "M1a"],
        "entries": fakes.sweep({"M0": 2.0, "M1g": 4.0, "M1d": 10.0, "M1a": 256.0, "M2": 512.0}),
    },
    "pareto": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "reliability": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "class-scores": {"runs": ["M0", "M1g", "M1d"]},
    "confused-pairs": {"run": "M0"},
    "step-loss": {"run": "M0"},
}
LARGEST = 200_000
CURVES = CurvesFigure(
    kind="curves", name="c", title="T", caption="C.", runs=("A",), metrics=("loss",), splits=("train",), against="time"
)


def words(stem: Path) -> str:
    return " ".join(pypdf.PdfReader(stem.with_suffix(".pdf")).pages[0].extract_text().split())


@pytest.mark.parametrize("kind", ITEMS)
def test_same_results_give_the_same_bytes_and_small_sound_files(kind: str, make_job: Make, tmp_path: Path) -> None:
    job = make_job(kind=kind, watermark="Demo scale: digits", **ITEMS[kind])
    draw(job, tmp_path / "first")
    draw(job, tmp_path / "second")
    for ending in ("svg", "pdf"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert len(first) < LARGEST
    svg = (tmp_path / "first.svg").read_text()
    ET.fromstring(svg)
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<!--.*?-->|base64,[^\"]*", "", svg, flags=re.S), re.I)
    assert not re.search(r"CreationDate|<dc:date>", svg + (tmp_path / "first.pdf").read_bytes().decode("latin-1"))
    assert "Demo scale: digits" in words(tmp_path / "first")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{n}.{e}" for n in ("first", "second") for e in ("svg", "pdf")
    }


@pytest.mark.parametrize(
    ("kind", "item", "said"),
    [
        ("curves", {"runs": ["M0", "M1d", "M1a"]}, ["a seed diverges", "M1d diverges in its first epoch"]),
        ("curves", {"runs": ["M1d"]}, ["Diverged in the first epoch: M1d"]),
        ("curves", {"runs": ["M1g"]}, ["a seed stops", "training", "validation"]),
        (
            "noise",
            {"runs": ["M0", "M1d", "M1a"]},
            ["M1d (diverged)", "M1a (1 of 3 diverged)", "chance (1/47)", "published"],
        ),
        ("noise", {"runs": ["M1d"]}, ["M1d (diverged)"]),
        (
            "gradient-norms",
            {"runs": ["M0", "M1d", "M1a"]},
            [
                "M1d: diverged",
                "M1a: 1 of 3 diverged",
                "a norm of zero",
                "one seed",
                "at initialisation",
                "after training",
            ],
        ),
        ("gradient-norms", {"runs": ["M1d"]}, ["M1d: diverged", "after training"]),
        ("confusion", {"run": "M1d"}, ["Every seed of M1d diverged"]),
        ("sweep", ITEMS["sweep"] | {"metrics": ["test_accuracy"], "runs": ["M1d"]}, ["Every run of width diverged"]),
        ("sweep", ITEMS["sweep"], ["a seed diverges", "published", "hidden units", "256", "one seed"]),
        ("sweep", ITEMS["sweep"] | {"runs": ["M0"]}, ["hidden units"]),
        ("pareto", ITEMS["pareto"], ["not shown: 1 diverged", "M1g", "training time (s)"]),
        ("pareto", {"runs": ["M1d"]}, ["There is no test accuracy: every run diverged"]),
        ("reliability", ITEMS["reliability"], ["M1d: diverged", "% (1 of 3 diverged)", "calibration error (ECE)"]),
        ("reliability", {"runs": ["M1d"]}, ["Every seed of M1d diverged"]),
        ("class-scores", ITEMS["class-scores"], ["M1d (diverged)", "rank correlation"]),
        ("class-scores", {"runs": ["M1d"]}, ["Every seed of M1d diverged"]),
        ("confused-pairs", {"run": "M0"}, ["I → 1", "%"]),
        ("confused-pairs", {"run": "M1d"}, ["Every seed of M1d diverged"]),
        ("step-loss", {"run": "M0"}, ["mean of 4 updates", "one batch", "training", "validation"]),
        ("step-loss", {"run": "M1g"}, ["M1g kept no losses of its updates"]),
        ("step-loss", {"run": "M1d"}, ["Every seed of M1d diverged"]),
        ("curves", {"runs": ["M0", "M1d", "M1g"], "against": "time"}, ["training time (s)", "a seed stops"]),
        ("curves", {"runs": ["M1g", "M1a"], "against": "updates"}, ["updates", "a seed diverges"]),
        ("metric-dots", {"runs": ["M0", "M1d"], "metrics": ["test_accuracy"]}, ["87.00 ± 2.48", "diverged"]),
        ("metric-dots", {"runs": ["M0"], "metrics": ["test_accuracy"]}, ["mean, 95 % interval", "published"]),
        ("metric-dots", {"runs": ["M1d"], "metrics": ["validation_loss"]}, ["validation loss (nats)", "diverged"]),
    ],
)
def test_what_diverged_stopped_or_was_published_is_said(
    kind: str, item: dict[str, Any], said: list[str], make_job: Make, stem: Path
) -> None:
    draw(make_job(kind=kind, **item), stem)
    for text in said:
        assert text in words(stem)


@pytest.mark.parametrize("kind", [kind for kind, item in ITEMS.items() if {"run", "runs"} & item.keys()])
def test_runs_that_are_left_out_are_not_drawn(kind: str, make_job: Make, stem: Path) -> None:
    if "runs" in ITEMS[kind]:
        draw(make_job(kind=kind, **ITEMS[kind] | {"runs": ["M2", "M0"]}), stem)
        assert "M2" not in words(stem)
    alone = {"run": "M2"} if "run" in ITEMS[kind] else {"runs": ["M2"]}
    draw(make_job(kind=kind, **ITEMS[kind] | alone), stem)
    assert words(stem) == "Not run: M2 (PyTorch is not installed)."


@pytest.mark.parametrize("kind", ["samples", "class-distribution"])
def test_ten_classes_with_long_names(kind: str, make_job: Make, stem: Path) -> None:
    draw(make_job(kind=kind, classes=fakes.FASHION), stem)
    assert "T-shirt/top" in words(stem)


def test_a_curve_averages_the_seeds_that_still_train(make_job: Make) -> None:
    job = make_job(kind="curves", runs=["M1g", "M1a"])
    both = curves.read_curve(job.results.runs["M1g"], "validation_accuracy", 100.0)
    first, second = (run.history()["validation_accuracy"] * 100 for run in job.results.runs["M1g"])
    assert both.mean[31] == pytest.approx((first[30] + second[30]) / 2)
    assert both.mean[32] == pytest.approx(first[31])
    mixed = curves.read_curve(job.results.runs["M1a"], "train_loss", 1.0)
    assert (mixed.kept.shape[1], len(mixed.failed), mixed.failed[0].index[-1]) == (2, 1, 12)


def test_gradient_norms_are_the_seeds_that_have_them_by_layer_from_one(make_job: Make) -> None:
    folders = make_job(kind="gradient-norms", runs=["M1a"]).results.runs["M1a"]
    initial, trained = (gradient_norms.norms_of(folders, moment) for moment in gradient_norms.PANELS)
    assert list(initial.columns) == [0, 1, 2]
    assert list(trained.columns) == [0, 2], "seed 1 diverged"
    assert initial.index.tolist() == list(range(1, 9))
    assert initial.loc[8, 0] == pytest.approx(0.1)
    assert trained.loc[1, 0] == 0


def test_gradient_norms_of_zero_stand_at_the_foot_and_the_panels_share_their_axis(make_job: Make) -> None:
    job = make_job(kind="gradient-norms", runs=["M0"])
    with style.applied():
        initial, trained = gradient_norms.draw(job.item, job).axes
    assert initial.get_yscale() == "log"
    assert initial.get_ylim() == trained.get_ylim()
    feet = [line for ax in (initial, trained) for line in ax.lines if line.get_marker() == "v"]
    assert [list(line.get_xdata()) for line in feet] == [[1, 2]]
    shown = [line for line in trained.lines if line.get_marker() == "."]
    np.testing.assert_allclose(shown[0].get_ydata()[2:], [10.0 ** (k - 8.25) for k in range(2, 8)])


def test_confusion_lists_the_largest_shares_off_the_diagonal() -> None:
    shares = confusion.row_shares(np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]]))
    np.testing.assert_allclose(shares, [[80, 20, 0], [25, 75, 0], [0, 0, 0]])
    assert confusion.most_confused(shares) == [(1, 0), (0, 1)]


def test_class_counts_leave_out_what_the_split_leaves_out(make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(kind="class-distribution")
    split = job.indices()
    split.test = split.test[:0]
    counts, _ = class_distribution.class_counts(job)
    assert counts.sum() == len(split.train) + len(split.validation)


def test_the_sample_of_a_class_is_the_training_image_nearest_to_its_mean() -> None:
    data, _ = fakes.dataset(("a", "b"))
    data.images[0], data.images[1], data.images[2] = 0, 255, 130
    chosen = representative(data, np.array([0, 1, 2]), 0)
    assert chosen is not None
    assert chosen.shape == (28, 28)
    assert np.all(chosen == 130)
    assert representative(data, np.array([0, 1, 2]), 1) is None


def drawn(job: ItemJob) -> Any:
    """The figure of a job, with every warning an error."""
    kind = importlib.import_module(f"mlpaper.paper.figures.{job.item.kind.replace('-', '_')}")
    with style.applied(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = kind.draw(job.item, job)
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("kind", ITEMS)
def test_nothing_warns(kind: str, make_job: Make) -> None:
    drawn(make_job(kind=kind, **ITEMS[kind]))


def of(ax: Any, label: str) -> list[tuple[list[float], list[float]]]:
    """Data of the lines with a label."""
    lines = [line for line in ax.lines if line.get_label() == label]
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in lines]


def test_a_sweep_shows_means_seeds_published_values_and_what_diverged(make_job: Make) -> None:
    accuracy, seconds, _, rest = drawn(make_job(kind="sweep", **ITEMS["sweep"])).axes
    ((x, y),) = of(accuracy, "mean")
    assert x == [2, 4, 256]
    assert y == pytest.approx([87, 91, 81])
    assert of(accuracy, "seeds")[0] == ([2, 2, 2], pytest.approx([86, 87, 88]))
    assert of(accuracy, "interval")[0] == ([2, 2], pytest.approx([87 - 2.4841377, 87 + 2.4841377]))
    assert of(accuracy, "published") == [([2, 4], [87.45, 88.58])]
    assert of(accuracy, "diverged") == [([10, 256], [0, 0])]
    assert of(seconds, "mean")[0] == ([2, 4, 10, 256], pytest.approx([61, 60.5, 60.5, 61])), "time does not diverge"
    assert of(seconds, "diverged") == []
    assert accuracy.get_xscale() == "log"
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == ["2", "4", "10", "256"]
    assert not rest.axison


def test_a_sweep_with_a_point_without_number_has_categories(make_job: Make) -> None:
    entries = fakes.sweep({"M0": None, "M1g": None, "M1a": None}, name="loss")
    (ax,) = drawn(make_job(kind="sweep", sweeps=["loss"], runs=["M0", "M1g", "M1a"], entries=entries)).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["M0", "M1g", "M1a"]
    ((x, y),) = of(ax, "mean")
    assert (x, y) == ([0, 1, 2], pytest.approx([87, 91, 81]))
    assert {line.get_linestyle() for line in ax.lines if line.get_label() == "mean"} == {"None"}, "names have no order"
    mixed = fakes.sweep({"M0": 32.0, "M1g": None}, name="batch")
    (ax,) = drawn(make_job(kind="sweep", sweeps=["batch"], runs=["M0", "M1g"], entries=mixed)).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["M0", "M1g"]
    assert {line.get_linestyle() for line in ax.lines if line.get_label() == "mean"} == {"-"}


def test_sweeps_share_an_axis_and_carry_their_names(make_job: Make) -> None:
    entries = fakes.sweep({"M0": 10.0, "M1g": 20.0}, name="plain") + fakes.sweep({"M1a": 10.0}, name="residual")
    job = make_job(kind="sweep", sweeps=["plain", "residual"], runs=["M0", "M1g", "M1a"], entries=entries)
    (ax,) = drawn(job).axes
    assert [x for x, _ in of(ax, "mean")] == [[10, 20], [10]]
    places = [tuple(line.get_transform().transform((10.0, 0.0))) for line in ax.lines if line.get_label() == "mean"]
    assert len(set(places)) == 1, "on an axis of numbers every point is at its own"
    assert {"plain", "residual"} <= {text.get_text() for text in ax.texts}
    assert len({line.get_color() for line in ax.lines if line.get_label() == "mean"}) == 2


@pytest.mark.parametrize("lower", [False, True])
def test_the_frontier_is_what_none_other_beats(lower: bool) -> None:
    random = np.random.default_rng(1)
    places = {f"r{i}": (float(x), float(y)) for i, (x, y) in enumerate(random.integers(0, 12, (40, 2)))}
    kept = pareto.frontier(places, lower)
    sign = -1 if lower else 1

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and sign * one[1] >= sign * other[1]

    assert set(kept) == {run for run in places if not any(beats(places[o], places[run]) for o in places)}
    assert [places[run][0] for run in kept] == sorted(places[run][0] for run in kept)


def test_the_frontier_is_drawn_and_named(make_job: Make) -> None:
    job = make_job(kind="pareto", runs=["M0", "M1g", "M1a"])
    (ax,) = drawn(job).axes
    assert of(ax, "none is both better and cheaper") == [([60.5], [pytest.approx(91)])]
    assert of(ax, "a run")[0][1] == pytest.approx([87, 91, 81])
    entries = ({"run": "M0", "sweep": "width"}, {"run": "M1a", "sweep": "depth"})
    (ax,) = drawn(job.model_copy(update={"entries": entries})).axes
    assert [of(ax, name)[0][1] for name in ("width", "depth", "other runs")] == [[87], [81], [91]]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["M1g"]


def test_bins_of_seeds_are_pooled_by_their_counts(tmp_path: Path) -> None:
    for seed, (count, confidence, accuracy) in enumerate(
        (([30, 0], [0.4, np.nan], [0.5, np.nan]), ([10, 5], [0.2, 0.9], [0.1, 1.0]))
    ):
        folder = Path(fakes.run(tmp_path, "A", seed))
        bins = {"low": [0.0, 0.5], "high": [0.5, 1.0], "count": count, "confidence": confidence, "accuracy": accuracy}
        write_parquet(folder / "calibration.parquet", bins)
    bins = reliability.pooled(Results({"A": sorted(tmp_path.iterdir())}).runs["A"])
    assert bins["count"].tolist() == [40, 5]
    assert bins["confidence"].tolist() == pytest.approx([0.35, 0.9])
    assert bins["accuracy"].tolist() == pytest.approx([0.4, 1.0])


def test_a_run_without_thin_bins_leaves_the_panels_their_size(make_job: Make, tmp_path: Path) -> None:
    """An empty line that is not clipped counts as one at the figure's corner, and each layout makes room for it."""
    folder = Path(fakes.run(tmp_path, "A", 0))
    bins = {
        "low": [0.0, 0.5],
        "high": [0.5, 1.0],
        "count": [500, 500],
        "confidence": [0.4, 0.9],
        "accuracy": [0.5, 0.8],
    }
    write_parquet(folder / "calibration.parquet", bins)
    job = make_job(kind="reliability", runs=["M0"]).model_copy(update={"runs": {"M0": (str(folder),)}})
    figure = drawn(job)
    heights = [[ax.get_position().height for ax in figure.axes]]
    for _ in range(3):
        figure.draw_without_rendering()
        heights.append([ax.get_position().height for ax in figure.axes])
    assert heights[-1] == pytest.approx(heights[0], rel=1e-3)
    assert heights[-1][0] > 0.5


def test_thin_bins_have_no_accuracy_and_still_their_share(make_job: Make, tmp_path: Path) -> None:
    folder = Path(fakes.run(tmp_path, "A", 0))
    bins = {"low": [0.0, 0.5], "high": [0.5, 1.0], "count": [19, 20], "confidence": [0.4, 0.9], "accuracy": [0.5, 0.8]}
    write_parquet(folder / "calibration.parquet", bins)
    job = make_job(kind="reliability", runs=["M0"]).model_copy(update={"runs": {"M0": (str(folder),)}})
    above, below = drawn(job).axes
    assert [list(line.get_xdata()) for line in above.lines] == [[90], [0, 100]]
    assert [list(line.get_xdata()) for line in below.lines] == [[25, 75]]


def test_readings_of_a_run_share_a_row_and_a_published_value(make_job: Make) -> None:
    job = make_job(kind="metric-dots", runs=["M0", "M1g"], metrics=["test_accuracy", "accuracy_gap"])
    runs = {"M0": job.runs["M0"], "M0-as-coded": job.runs["M1g"]}
    published = {f"{run}.test_accuracy": 0.8745 for run in runs}
    item = job.item.model_copy(update={"runs": tuple(runs)})
    accuracy, gap = drawn(job.model_copy(update={"runs": runs, "published": published, "item": item})).axes
    assert [tick.get_text() for tick in accuracy.get_yticklabels()] == ["M0"]
    diamonds = [line for line in accuracy.lines if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in diamonds] == [[87.45]]
    levels = {line.get_marker(): {*line.get_ydata()} for line in accuracy.lines if line.get_marker() in ("o", "s")}
    assert [len(found) for found in levels.values()] == [1, 1]
    assert levels["o"] != levels["s"]
    assert any(list(line.get_xdata()) == [0, 0] for line in gap.lines), "differences have a line at zero"
    low, high = accuracy.get_xlim()
    assert 80 < low < 87 < 91 < high < 95, "limits come from seeds and published values, not from intervals"


def test_many_runs_have_a_reliability_panel_each(make_job: Make) -> None:
    assert len(drawn(make_job(kind="reliability", runs=["M0", "M1g", "M1d", "M1a"])).axes) == 2
    runs = ["M0", "M1g", "M1d", "M1a"]
    job = make_job(kind="reliability", runs=runs)
    several = {f"{run}{copy}": job.runs[run] for run in runs for copy in "ab"}
    item = job.item.model_copy(update={"runs": tuple(several)})
    assert len(drawn(job.model_copy(update={"runs": several, "item": item})).axes) == 16


def test_scores_stand_at_the_training_images_of_their_class(make_job: Make) -> None:
    job = make_job(kind="class-scores", runs=["M0", "M1a"])
    first, _ = drawn(job).axes
    dots = next(line for line in first.lines if line.get_marker() == "o")
    train = job.dataset().labels[job.indices().train]
    assert list(dots.get_xdata()) == [int((train == k).sum()) for k in range(47)]
    scores = [[e["f1"] for e in folder.evaluation["per_class"]] for folder in job.results.runs["M0"]]
    np.testing.assert_allclose(dots.get_ydata(), 100 * np.mean(scores, axis=0))
    named = {text.get_text() for text in first.texts if text.get_text()}
    assert len(named) == class_scores.WORST + class_scores.BEST
    assert fakes.BYMERGE[int(np.argmin(np.mean(scores, axis=0)))] in named
    assert len(class_scores.mean_scores(job.results.runs["M1a"])) == 47, "the seeds that did not diverge"


def test_classes_of_one_size_have_no_rank_correlation() -> None:
    assert class_scores.correlation(np.array([5, 5, 5]), np.array([0.1, 0.2, 0.3])) == "classes of one size"
    assert class_scores.correlation(np.array([3, 2, 1]), np.array([0.1, 0.2, 0.3])) == "rank correlation −1.00"


def test_images_of_a_pair_are_the_most_confident_of_all_seeds_each_once() -> None:
    columns = {
        "index": [4, 9, 7, 4, 8, 5],
        "label": [1, 1, 1, 1, 1, 2],
        "prediction": [0, 0, 0, 0, 2, 0],
        "confidence": [0.5, 0.7, 0.7, 0.9, 1.0, 1.0],
    }
    assert confused_pairs.chosen(pd.DataFrame(columns), 1, 0, 6) == [4, 7, 9]
    assert confused_pairs.chosen(pd.DataFrame(columns), 1, 0, 2) == [4, 7]


def test_confused_pairs_show_test_images_of_the_true_class(make_job: Make) -> None:
    job = make_job(kind="confused-pairs", run="M1a", pairs=3, images=2)
    figure = drawn(job)
    texts = [text.get_text() for text in figure.texts]
    assert texts[::2] == ["I → 1", "O → 0", "q → 9"]
    pictures = [np.asarray(ax.images[0].get_array()).reshape(784) for ax in figure.axes]
    data, test = job.dataset(), job.indices().test
    assert len(pictures) == 6
    for picture, true in zip(pictures, "IIOOqq", strict=True):
        found = test[(data.images[test] == picture).all(axis=1)]
        assert {data.classes[k] for k in data.labels[found]} == {true}


def test_the_running_mean_is_over_whole_windows() -> None:
    steps = pd.DataFrame({"step": [1, 2, 3, 4], "loss": [4.0, 2.0, 0.0, 1.0]})
    smooth = step_loss.running_mean(steps, 3)
    assert (smooth.index.tolist(), smooth.tolist()) == ([2, 3], [2.0, 1.0])


def test_time_is_the_sum_of_the_epochs_mean_times_and_never_goes_back(tmp_path: Path) -> None:
    fakes.run(tmp_path, "A", 0, epochs=2, seconds=1.0)
    fakes.run(tmp_path, "A", 1, epochs=4, seconds=3.0)
    job = ItemJob(study="s", item=CURVES, runs={"A": tuple(sorted(map(str, tmp_path.iterdir())))})
    assert curves.clock(job.results.runs["A"]).tolist() == [2, 4, 7, 10]
    (ax,) = drawn(job).axes
    line = ax.lines[0]
    assert list(line.get_xdata()) == [2, 4, 7, 10]
    both = [run.history()["train_loss"].to_numpy() for run in job.results.runs["A"]]
    assert line.get_ydata()[1] == pytest.approx((both[0][1] + both[1][1]) / 2)
    assert line.get_ydata()[2] == pytest.approx(both[1][2])


def test_updates_are_the_steps_at_the_end_of_every_epoch(make_job: Make) -> None:
    job = make_job(kind="curves", runs=["M0"], metrics=["loss"], splits=["validation"], against="updates")
    history = job.results.runs["M0"][0].history()
    (ax,) = drawn(job).axes
    assert list(ax.lines[0].get_xdata()) == history["step"].tolist()
    assert ax.get_xscale() == "log"
    assert ax.lines[0].get_linestyle() == "-", "nothing that it has to be told from"


def test_two_readings_with_the_same_published_values_have_them_once(make_job: Make) -> None:
    job = make_job(kind="noise", runs=["M0", "M1g"])
    published = {key: value for key, value in job.published.items() if key.startswith("M0.noise")}
    published |= {key.replace("M0.", "M1g."): value for key, value in published.items()}
    absolute, _ = drawn(job.model_copy(update={"published": published})).axes
    hollow = [line for line in absolute.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    assert len(hollow) == 1


def test_noise_is_shown_beside_the_share_of_each_seeds_own_clean_accuracy(make_job: Make) -> None:
    job = make_job(kind="noise", runs=["M0"])
    accuracies = noise.accuracy_by_sigma(job.results.runs["M0"])
    shares = noise.relative_to_clean(accuracies)
    assert shares[0.0].tolist() == [100, 100, 100]
    assert shares[0.3, 1] == pytest.approx(100 * accuracies[0.3, 1] / accuracies[0.0, 1])
    _, relative = drawn(job).axes
    assert relative.lines[0].get_ydata()[3] == pytest.approx(shares[0.3].mean())
    assert list(relative.lines[1].get_ydata()) == pytest.approx([100, 100 * 0.8004 / 0.8745, 100 * 0.5221 / 0.8745])


def test_labels_of_points_stand_apart_and_within_the_panel() -> None:
    with style.applied():
        figure = Figure(figsize=(4, 3))
        ax = figure.subplots()
        ax.set(xlim=(0, 1), ylim=(0, 1))
        dots = [(0.5 + 0.004 * i, 0.5 + 0.003 * i) for i in range(6)] + [(0.999, 0.999)]
        style.label_points(ax, [style.EndLabel(x, y, f"run-{i}", "#000000") for i, (x, y) in enumerate(dots)], dots)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(ax.bbox.contains(*box.p0) and ax.bbox.contains(*box.p1) for box in boxes)


def lightness(colour: str) -> float:
    """CIE L*."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_the_first_six_colours_differ_in_a_grey_print_and_stand_out_from_white() -> None:
    greys = [lightness(colour) for colour in style.PALETTE[:6]]
    assert min(abs(a - b) for a, b in itertools.combinations(greys, 2)) > 10
    assert max(greys) < 82


def test_many_runs_never_share_a_look() -> None:
    assert len(set(style.looks([f"M{i}" for i in range(30)]).values())) == 30


def test_spread_labels_keep_their_order_and_their_distance() -> None:
    y = style.spread([0.5, 0.52, 0.1, 0.51, 0.99], 0.1, 0.0, 1.0)
    assert sorted(range(5), key=y.__getitem__) == [2, 0, 3, 1, 4]
    assert min(np.diff(sorted(y))) >= 0.1 - 1e-6
    assert 0 <= min(y) <= max(y) <= 1


def test_labels_are_spread_to_the_nearest_places() -> None:
    from scipy.optimize import isotonic_regression

    random = np.random.default_rng(0)
    for count in range(2, 12):
        wanted, steps = np.sort(random.uniform(0.4, 0.6, count)), 0.08 * np.arange(count)
        nearest = np.clip(isotonic_regression(wanted - steps).x, 0, 1 - steps[-1]) + steps
        np.testing.assert_allclose(style.spread(list(wanted), 0.08, 0.0, 1.0), nearest, atol=1e-6)
