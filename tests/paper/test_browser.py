"""The HTML page in a real browser: Debian's Chromium, without a network."""

from __future__ import annotations

import io
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
from pypdf import PdfReader
from test_render import REPORT, STUDY, document

from mlpaper.files import write_json, write_text
from mlpaper.paper.claim_text import Row
from mlpaper.paper.figures import draw
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.render import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESK = (390, 844), (1440, 900)
WIDE = 14
"""Columns of the widest table."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


def wide_table(rows: int = 12) -> str:
    """A Markdown table of numbers and prose, wider than a desk's page."""
    titles = ["run", *(f"test accuracy {column} (%)" for column in range(WIDE - 2)), "early stopping"]
    lines = [titles, ["---", *["--:"] * (WIDE - 2), "---"]]
    for row in range(rows):
        values = [f"{80 + (7 * row + column) % 13}.25 ± 0.12" for column in range(WIDE - 2)]
        lines.append([f"M{row}-as-coded", *values, "5, on validation loss (by more than 0.0001); the last weights"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n± is the half-width of an interval.\n"


@pytest.fixture(scope="module")
def figure_stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A figure as the pipeline draws it."""
    folder = tmp_path_factory.mktemp("figure")
    runs = {name: (fakes.run(folder, name, 0, accuracy=0.8 + k / 50),) for k, name in enumerate(("M0", "M1g"))}
    item = {"kind": "curves", "name": "c", "title": "Curves", "caption": "Curves.", "runs": list(runs)}
    job = ItemJob.model_validate({"study": STUDY, "item": item, "runs": runs})
    draw(job, folder / "figure")
    return folder / "figure"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, figure_stem: Path) -> str:
    """The page of a study with real figures, one wide table and long names."""
    results = tmp_path_factory.mktemp("results")
    facts = document()
    write_json(results / "numbers.json", facts)
    sidecar = {"title": "A title", "alt": "Curves", "study": STUDY, "runs": ["digits-128x64-adam-s0-0123abcd"] * 40}
    sidecar |= {"caption": "Accuracy at every $\\sigma$.", "dirty": False, "commit": "b" * 40, "code_digest": "0" * 16}
    sidecar |= {"machine": {"processor": "Processor"}, "versions": {"numpy": "2.1"}, "specs": {}, "inputs": []}
    spot = {"target": f"claim-{STUDY}-{facts['claims'][0]['id']}", "left": 10, "top": 10, "width": 20, "height": 5}
    for kind in ("figure", "table"):
        for name in facts["study"][STUDY][f"{kind}s"] + (facts["figures"] if kind == "figure" else []):
            stem = results / f"{kind}s" / name
            command = f"snakemake --cores 1 {stem.relative_to(results)} --config 'seeds=[0, 1, 2, 3, 4, 5, 6, 7]'"
            own = {"id": name, "kind": kind, "command": command, "links": [spot] if name in facts["figures"] else []}
            write_json(stem.with_suffix(".json"), sidecar | own)
            if kind == "figure":
                shutil.copy(figure_stem.with_suffix(".svg"), stem.with_suffix(".svg"))
            else:
                write_text(stem.with_suffix(".md"), wide_table())
    render(REPORT, results, "html", results / "paper.html")
    return (results / "paper.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page at a size and in a colour scheme; complaints and requests are collected on the way."""
    pages: dict[Any, Any] = {}

    def open_page(size: tuple[int, int] = DESK, scheme: str = "light") -> Any:
        if (size, scheme) in pages:
            return pages[size, scheme]
        width, height = size
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("requestfailed", lambda request: page.complaints.append(f"failed: {request.url[:100]}"))
        page.on("request", lambda request: page.requests.append(request.url[:100]))
        page.goto(address)
        pages[size, scheme] = page
        return page

    yield open_page
    for page in pages.values():
        page.close()


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desk"])
def page(visit: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    return visit(request.param)


def test_nothing_fails_and_nothing_is_fetched(page: Any, address: str) -> None:
    assert page.complaints == []
    assert [url for url in page.requests if url != address and not url.startswith("data:")] == []


def test_figures_keep_their_room_before_they_are_drawn(page: Any) -> None:
    ratios = page.evaluate(
        "Array.from(document.querySelectorAll('.sheet img'), (image) => [image.getAttribute('width') /"
        " image.getAttribute('height'), image.naturalWidth / image.naturalHeight])"
    )
    assert ratios
    for asked, drawn in ratios:
        assert asked == pytest.approx(drawn, rel=0.01)


def test_every_image_is_decoded(page: Any) -> None:
    widths = page.evaluate("Array.from(document.querySelectorAll('main img'), (image) => image.naturalWidth)")
    assert widths
    assert all(width > 0 for width in widths)


def test_the_page_does_not_scroll_sideways(page: Any) -> None:
    width, inner = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert width <= inner
    for card in page.locator(".provenance").all()[:3]:
        card.evaluate("(card) => { card.open = true; }")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= inner


def test_a_wide_table_scrolls_in_its_own_frame(page: Any) -> None:
    frame = page.locator("figure.table .scroll").first
    assert frame.evaluate("(frame) => frame.scrollWidth > frame.clientWidth")
    frame.evaluate("(frame) => frame.scrollTo(300, 0)")
    left = frame.evaluate("(frame) => frame.querySelector('td').getBoundingClientRect().left - frame.offsetLeft")
    assert abs(left - frame.evaluate("(frame) => frame.getBoundingClientRect().left - frame.offsetLeft")) < 2, (
        "the names of the runs stay in view"
    )


def test_links_of_the_contents_lead_to_headings(page: Any) -> None:
    hrefs = page.evaluate(
        "Array.from(document.querySelectorAll('.contents a'), (a) => [a.hash, a.hash.length > 1 &&"
        " document.getElementById(decodeURIComponent(a.hash.slice(1)))?.tagName])"
    )
    assert len(hrefs) > 10
    assert {tag for _, tag in hrefs} <= {"H2", "H3", "H4"}


def test_a_figure_enlarges_and_escape_closes_it(page: Any) -> None:
    sheet = page.locator(f"#figure-{STUDY}-m0-curves .sheet")
    small = sheet.locator("img").bounding_box()["width"]
    sheet.get_by_role("button").click()
    large = page.locator("dialog.enlarged")
    assert large.evaluate("(dialog) => dialog.open")
    assert large.locator("img").bounding_box()["width"] > 1.1 * small
    assert "Figure" in large.inner_text()
    page.keyboard.press("Escape")
    assert not large.evaluate("(dialog) => dialog.open")


def test_a_table_sorts_by_its_headings(page: Any) -> None:
    table = page.locator(f"#table-{STUDY}-settings table")
    column = "(table) => Array.from(table.tBodies[0].rows, (row) => row.cells[1].textContent.trim())"
    before = table.evaluate(column)
    orders = []
    for _ in range(3):
        table.locator("th button").nth(1).click()
        orders.append(table.evaluate(column))
    assert orders == [sorted(before), sorted(before, reverse=True), before]
    assert before not in orders[:2]


def test_a_number_tells_where_it_comes_from(page: Any) -> None:
    number = page.locator(f".num[data-key='{STUDY}.M0.macro_f1']").first
    number.click()
    popup = page.locator("#origin")
    assert popup.is_visible()
    assert "By seed: 80.00, 80.10, 79.90" in popup.inner_text()
    assert "run-a" in popup.inner_text()
    box = popup.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.keyboard.press("Escape")
    assert not popup.is_visible()


def test_a_card_shows_its_command(page: Any) -> None:
    card = page.locator(f"#figure-{STUDY}-noise .provenance")
    card.evaluate("(card) => { card.open = false; }")
    card.locator("summary").click()
    command = card.locator("code.command")
    assert command.is_visible()
    assert f"figures/{STUDY}-noise" in command.inner_text()


# --- the cards of the claims


@pytest.fixture
def fresh(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page anew, at an anchor."""
    pages: list[Any] = []

    def open_page(anchor: str = "", size: tuple[int, int] = DESK, **options: Any) -> Any:
        viewport = {"width": size[0], "height": size[1]}
        pages.append(browser.new_page(viewport=viewport, reduced_motion="reduce", **options))
        pages[-1].goto(address + anchor)
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def shown(page: Any) -> list[str]:
    """Names of the cards that are on the page, in its order."""
    return page.evaluate("Array.from(document.querySelectorAll('.card:not([hidden])'), (card) => card.id)")


def opened(page: Any) -> list[str]:
    return page.evaluate("Array.from(document.querySelectorAll('.card[open]'), (card) => card.id)")


def card_of(name: str) -> str:
    return f"card-{STUDY}-{name}"


def test_claims_are_found_by_words_and_verdict_and_sorted(fresh: Callable[..., Any]) -> None:
    page, rows = fresh(), {row["id"]: row for row in document()["claims"]}
    every = shown(page)
    assert every == [card_of(name) for name in rows]
    assert opened(page) == []
    page.get_by_label("Search").fill("MOMENTUM adam")
    found = shown(page)
    assert card_of("adam-over-momentum") in found
    assert 0 < len(found) < len(every)
    assert page.locator(".filters output").inner_text() == f"{len(found)} of {len(rows)} claims"
    page.locator("select[name=verdict]").select_option("supported")
    of_both = shown(page)
    page.get_by_label("Search").fill("")
    supported = [card_of(name) for name, row in rows.items() if row["verdict"] == "supported"]
    assert shown(page) == supported
    assert of_both == [card for card in found if card in supported]
    page.get_by_label("Search").fill("no such words")
    assert shown(page) == []
    assert not page.locator(".cards-of").first.is_visible()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelectorAll('.card[hidden]').length === 0")
    assert shown(page) == every
    page.locator("select[name=order]").select_option("likely")
    chances = [rows[name.removeprefix(card_of(""))]["probability"] for name in shown(page)]
    known = [chance for chance in chances if chance is not None]
    assert known == sorted(known, reverse=True)
    assert chances[: len(known)] == known


def test_a_link_opens_its_card_on_load_and_with_back_and_forward(fresh: Callable[..., Any]) -> None:
    first, second = card_of("m0-87"), card_of("m3b-best")
    page = fresh(f"#{first}")
    assert opened(page) == [first]
    assert page.locator(f"#{first} dl").is_visible()
    page.get_by_label("Search").fill("no such words")
    page.evaluate(f"location.hash = '{second}'")
    page.wait_for_function(f"document.getElementById('{second}').open")
    assert page.locator(f"#{second}").bounding_box()["y"] < DESK[1], "what hides a card gives way"
    page.evaluate("for (const card of document.querySelectorAll('.card')) card.open = false")
    page.go_back()
    page.wait_for_function(f"document.getElementById('{first}').open")
    page.go_forward()
    page.wait_for_function(f"document.getElementById('{second}').open")
    verdict = page.locator(f"main li:has(#claim-{STUDY}-m0-87) a.verdict")
    page.evaluate("for (const card of document.querySelectorAll('.card')) card.open = false")
    verdict.first.click()
    page.wait_for_function(f"document.getElementById('{first}').open")
    page.locator(f"#{first}").get_by_role("link", name="in the text").click()
    assert page.evaluate("location.hash") == f"#claim-{STUDY}-m0-87"


def test_a_claim_of_the_first_figure_leads_to_its_card(fresh: Callable[..., Any]) -> None:
    page, claim = fresh(), document()["claims"][0]["id"]
    page.locator("#figure-verdicts .spots a").click()
    assert opened(page) == [card_of(claim)]


def test_a_card_opens_by_the_keyboard(fresh: Callable[..., Any]) -> None:
    page = fresh()
    page.get_by_label("Search").focus()
    for _ in range(6):  # two more choices, two buttons, the first card
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert opened(page) == [shown(page)[0]]


def test_without_scripts_every_card_is_open_and_no_filter_is_shown(fresh: Callable[..., Any]) -> None:
    page = fresh(java_script_enabled=False)
    cards, rows = page.locator(".card"), document()["claims"]
    assert cards.count() == len(rows)
    for number in (0, len(rows) // 2, len(rows) - 1):
        assert cards.nth(number).locator("dl").is_visible()
        assert cards.nth(number).locator("code.command").is_visible()
    assert not page.locator(".filters").is_visible()


def letters(text: str) -> str:
    """A text without what a PDF has otherwise: spaces, ends of lines, ligatures, signs beyond ASCII."""
    return re.sub(r"[^A-Za-z0-9]", "", unicodedata.normalize("NFKD", text))


def test_all_cards_are_printed_whatever_is_filtered_and_closed(fresh: Callable[..., Any]) -> None:
    page = fresh()
    page.get_by_label("Search").fill("no such words")
    page.evaluate("document.querySelectorAll('main > :not(#explorer)').forEach((node) => node.remove())")
    printed = letters("".join(sheet.extract_text() for sheet in PdfReader(io.BytesIO(page.pdf())).pages))
    for row in map(Row, document()["claims"]):
        assert letters(f"Rule {row.rule}") in printed, "a line of its card that shows only where it is open"
        assert letters(row.rule) in printed
    assert opened(page) == []
    assert shown(page) == []


def test_what_stands_for_a_number_is_wrapped_on_a_phone(fresh: Callable[..., Any]) -> None:
    page = fresh("", PHONE)
    assert "±" in page.locator(".num").first.inner_text()
    page.evaluate(
        "document.querySelectorAll('.num').forEach((it) => { it.textContent = 'not run (' + 'why '.repeat(30) + ')' })"
    )
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]


def test_open_cards_fit_a_phone(fresh: Callable[..., Any]) -> None:
    page = fresh("#explorer", PHONE)
    page.get_by_role("button", name="Open all").click()
    assert len(opened(page)) == len(shown(page)) > 50
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
    cut = """Array.from(document.querySelectorAll('.card *'), (node) => node.getBoundingClientRect())
        .filter((box) => box.width && (box.left < 0 || box.right > innerWidth + 1)).length"""
    assert page.evaluate(cut) == 0
    assert page.get_by_role("button", name="Close all").is_visible()


CONTRASTS = """
() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour.startsWith("rgb(")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const chosen = "main p, main a, main h2, figcaption p, td, th, .provenance summary, .contents a, .num, .watermark,"
    + ".card .statement, .card .verdict, .card .probability, .card dt, .card dd, "
    + ".strip span, .filters label, .filters button";
  const written = Array.from(document.querySelectorAll(chosen)).filter((node) => node.textContent.trim());
  return written.map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.tagName + "." + node.className + ": " + node.textContent.slice(0, 40)];
  }).sort((x, y) => x[0] - y[0])[0];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(visit: Callable[..., Any], scheme: str) -> None:
    contrast, where = visit(DESK, scheme).evaluate(CONTRASTS)
    assert contrast >= 4.5, where
