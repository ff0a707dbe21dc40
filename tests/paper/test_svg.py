from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import typst
from PIL import Image
from test_figures import ITEMS

from mlpaper.paper import svg
from mlpaper.paper.figures import draw
from mlpaper.paper.floats import Item
from mlpaper.paper.jobs import ItemJob


def pixels(path: Path) -> np.ndarray:
    page = path.with_suffix(".typ")
    page.write_text(f'#set page(width: auto, height: auto, margin: 0pt)\n#image("{path.name}")')
    return np.asarray(Image.open(io.BytesIO(typst.compile(page, format="png", ppi=144))).convert("L"), dtype=float)


@pytest.mark.parametrize("kind", ["curves", "confusion", "sweep"])
def test_a_small_svg_looks_like_matplotlibs(
    kind: str, make_job: Callable[..., ItemJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(kind=kind, **ITEMS[kind])
    draw(job, tmp_path / "small")
    monkeypatch.setattr(svg, "compact", lambda source: source)
    draw(job, tmp_path / "large")
    small, large = tmp_path / "small.svg", tmp_path / "large.svg"
    first, second = pixels(small), pixels(large)
    assert first.shape == second.shape
    apart = np.abs(first - second)
    assert apart.mean() < 0.25, "of 255 levels of grey"
    assert (apart > 100).mean() < 0.0005, "no mark is elsewhere or of another colour"
    images = large.read_text().count("data:image/png")
    assert small.stat().st_size < (0.45 if not images else 0.9) * large.stat().st_size


def test_what_matplotlib_does_not_write_is_refused() -> None:
    with pytest.raises(ValueError, match="'A' is not among the commands"):
        svg.relative("M 0 0 A 1 1 0 0 0 2 2")


def test_in_the_page_a_figure_takes_little_more_than_its_file(make_job: Callable[..., ItemJob], tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    job = make_job(kind="curves", title="100 % of 'a' & #b <c>", **ITEMS["curves"])
    draw(job, tmp_path / "figures" / "x")
    address = Item("x", "figure", 1, {}, tmp_path).data_uri()
    kind, content = address.split(",", 1)
    assert kind == "data:image/svg+xml"
    assert unquote(content) == (tmp_path / "figures" / "x.svg").read_text()
    assert not re.search("['#&\\n]", content)
    assert len(content) < 1.05 * (tmp_path / "figures" / "x.svg").stat().st_size


def test_errors_of_rounding_do_not_add_up() -> None:
    path = svg.relative("M 0 0 " + " ".join(f"L {k * 0.014:.6f} {k * 0.01:.6f}" for k in range(1, 1001)))
    steps = np.array([float(number) for number in path.removeprefix("M0 0l").replace("-", " -").split()])
    assert steps[::2].sum() == pytest.approx(14.0, abs=0.0051)
    assert steps[1::2].sum() == pytest.approx(10.0, abs=1e-9)


def test_points_of_a_curve_that_are_left_out_are_near_those_kept() -> None:
    random = np.random.default_rng(0)
    points = np.cumsum(random.normal(scale=(0.05, 0.3), size=(2000, 2)), axis=0)
    path = svg.relative("M 0 0 " + " ".join(f"L {x:.6f} {y:.6f}" for x, y in points), decimals=1, near=0.4)
    kept, last = [], np.zeros(2)
    for step, numbers in re.findall(r"([lhv])([^lhv]*)", path):
        ends = np.array([float(number) for number in re.findall(r"-?[\d.]+", numbers)])
        moves = ends.reshape(-1, 2) if step == "l" else np.outer(ends, (step == "h", step == "v"))
        kept += [*(last + moves.cumsum(axis=0))]
        last = kept[-1]
    apart = np.abs(points[:, None] - np.array(kept)).max(axis=2).min(axis=1)
    assert len(kept) < 1500
    assert apart.max() < 0.46
    assert apart[-1] < 0.051, "the end stays"


@pytest.mark.parametrize("colours", [["grey"], ["red", "green"], None, ["transparent"]])
def test_a_picture_keeps_its_pixels(colours: list[str] | None) -> None:
    shape = (28, 28)
    pixels = np.random.default_rng(0).integers(256, size=(*shape, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    if colours == ["grey"]:
        pixels[..., :3] = pixels[..., :1]
    elif colours == ["transparent"]:
        pixels[0, 0, 3] = 0
    elif colours:
        pixels = np.array([(255, 0, 0, 255), (0, 128, 0, 255)], np.uint8)[pixels[..., 0] % 2]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    written = b64decode(svg._picture(file.getvalue()))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(written)).convert("RGBA")), pixels)
    assert len(written) < len(file.getvalue()) or colours == ["transparent"]
