from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pypdf
import pytest
from matplotlib.colors import to_rgb

from mlpaper.paper import style
from mlpaper.paper.figures import class_distribution, confusion, curves, draw, gradient_norms
from mlpaper.paper.figures.samples import representative
from mlpaper.paper.job import ItemJob

Make = Callable[..., ItemJob]

ITEMS: dict[str, dict[str, Any]] = {
    "curves": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "confusion": {"run": "M0"},
    "noise": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "gradient-norms": {"runs": ["M0", "M1g", "M1d", "M1a"]},
    "samples": {"columns": 12},
    "class-distribution": {},
    "metric-dots": {"runs": ["M0", "M1g", "M1d", "M1a"], "metric": "test_accuracy"},
}
LARGEST = 200_000


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
    assert "Demo scale: digits" in svg
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
        ("metric-dots", {"runs": ["M0", "M1d"], "metric": "test_accuracy"}, ["87.00 ± 2.48", "diverged", "published"]),
        ("metric-dots", {"runs": ["M1d"], "metric": "validation_loss"}, ["validation loss (nats)", "diverged"]),
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
    assert "T-shirt/top" in stem.with_suffix(".svg").read_text()


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
