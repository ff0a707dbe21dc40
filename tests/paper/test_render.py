from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_document import STUDIES, STUDY, document, items
from pypdf import PdfReader

from mlpaper.errors import RenderError
from mlpaper.files import write_json, write_text
from mlpaper.paper import lint
from mlpaper.paper.floats import Item
from mlpaper.paper.macros import Numbers
from mlpaper.paper.render import Paper, render

REPORT = Path(__file__).parents[2] / "report"
FIGURES, TABLES = items("figure"), items("table")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 20" width="60" height="20"><path d="M0 0h60v20z"/></svg>'
PIPES = """| run         | test accuracy (%) | note |
|-------------|------------------:|------|
| M0          | 87.45 ± 0.10 | σ ≤ 0.5, `l_2` and L₂ |
| M1-as-coded | 88.58 ± 0.12 | 100 % & more \\| less |

± is half an interval.
"""
OUTPUTS = ["md", "html", "tex", "pdf"]


@pytest.fixture(scope="module")
def tiny_pdf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    import typst

    source = tmp_path_factory.mktemp("pdf") / "a.typ"
    source.write_text("#set page(width: 3cm, height: 1cm)\nx")
    compiled = typst.compile(source, format="pdf")
    assert isinstance(compiled, bytes)
    return compiled


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_pdf: bytes) -> Callable[[dict[str, Any]], Path]:
    """Write the results folder that a document of numbers speaks of."""

    def write(facts: dict[str, Any]) -> Path:
        results = tmp_path_factory.mktemp("results")
        write_json(results / "numbers.json", facts)
        for name, study in {None: facts, **facts["study"]}.items():
            for kind in ("figure", "table"):
                for item in study.get(f"{kind}s", ()):
                    stem = results / f"{kind}s" / item
                    sidecar = {
                        "id": item,
                        "kind": kind,
                        "title": "A <title>",
                        "caption": "A *caption*, $\\sigma$.\nTwo lines.",
                    }
                    sidecar |= {
                        "alt": 'An "alt" [text] & more',
                        "study": name,
                        "runs": ["run-a", "run-b"],
                        "dirty": False,
                    }
                    sidecar |= {"code_digest": "0123456789abcdef", "commit": "b" * 40, "machine": {"cores": 2}}
                    sidecar |= {"specs": {}, "inputs": [], "command": f"snakemake {item}", "versions": {"numpy": "2.1"}}
                    write_json(results / f"{kind}s" / f"{item}.json", sidecar)
                    if kind == "figure":
                        write_text(results / "figures" / f"{item}.svg", SVG)
                        (results / "figures" / f"{item}.pdf").write_bytes(tiny_pdf)
                    else:
                        write_text(results / "tables" / f"{stem.name}.md", PIPES)
        return results

    return write


@pytest.fixture(scope="module")
def results(make: Callable[[dict[str, Any]], Path]) -> Path:
    folder = make(document())
    for target in OUTPUTS:
        render(REPORT, folder, target, folder / f"paper.{target}", "typst")  # type: ignore[arg-type]
    return folder


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report whose prose a test may replace."""
    shutil.copytree(REPORT, tmp_path / "report")
    return tmp_path / "report"


def fill(report: Path, results: Path, text: str, target: Any = "md") -> str:
    (report / "paper.md.j2").write_text(text, encoding="utf-8")
    return Paper(report, results, target).markdown()


class Page(HTMLParser):
    """What the tests ask of a page: its tags with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return Page((results / "paper.html").read_text(encoding="utf-8"))


# --- the four targets


def test_github_markdown_holds_title_numbers_figures_and_links(results: Path) -> None:
    text = (results / "paper.md").read_text(encoding="utf-8")
    assert text.startswith("# Published studies")
    assert "80.00 ± 0.12 %" in text.replace("\u00a0", " ")
    assert f"](figures/{STUDY}-samples.svg)" in text
    assert "| M0 " in text
    assert "$`" in text or "$" in text
    for target in re.findall(r"\]\(#([^)]+)\)", text):
        heading = any(
            re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") == target for h in re.findall(r"^#+ (.+)$", text, re.M)
        )
        assert heading or f'id="{target}"' in text, target


def test_html_needs_no_other_file(page: Page) -> None:
    assert not [src for src in page.all("src") if not src.startswith("data:")]
    of_the_paper, enlarged = 2, 1
    assert sum(tag == "img" for tag, _ in page.tags) == len(FIGURES) + of_the_paper + enlarged
    assert not [tag for tag, attrs in page.tags if tag == "link" or (tag == "script" and "src" in attrs)]


def test_html_ids_are_unique_and_internal_links_resolve(page: Page) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    targets = {href[1:] for href in page.all("href") if href.startswith("#")}
    assert targets
    assert targets <= set(ids)


def test_html_numbers_say_where_they_come_from(page: Page) -> None:
    marked = [attrs for _, attrs in page.tags if (attrs.get("class") or "") == "num"]
    first = next(attrs for attrs in marked if attrs["title"] == f"{STUDY}.M0.macro_f1")
    assert first["data-runs"] == "run-a run-b"
    assert (first["data-values"], first["data-published"]) == ("80.00, 80.10, 79.90", "83.92\u00a0%")
    claim = next(attrs for attrs in marked if attrs["title"] == f"{STUDY}.adam-over-momentum")
    assert claim["data-runs"] == "M1b M1a"
    assert f"snakemake {STUDY}-samples" in page.text


def test_latex_refers_to_figures_by_relative_path(results: Path) -> None:
    text = (results / "paper.tex").read_text(encoding="utf-8")
    assert rf"{{figures/{STUDY}-samples.pdf}}" in text
    assert text.count(r"\begin{tabular}") >= len(TABLES)
    assert rf"\label{{table-{STUDY}-noise}}" in text


@pytest.mark.skipif(not shutil.which("latexmk"), reason="LaTeX is not installed")
@pytest.mark.slow
def test_latex_compiles(results: Path, tmp_path: Path) -> None:
    render(REPORT, results, "pdf", tmp_path / "paper.pdf", "latex")
    assert "Published studies" in PdfReader(tmp_path / "paper.pdf").pages[0].extract_text()


def test_pdf_holds_title_and_numbers(results: Path) -> None:
    text = " ".join(page.extract_text() for page in PdfReader(results / "paper.pdf").pages)
    text = re.sub(r"\s+", " ", text)
    assert "Published studies of multilayer perceptrons" in text
    assert "80.00 ± 0.12 %" in text


@pytest.mark.parametrize("target", OUTPUTS)
def test_same_inputs_give_the_same_bytes(results: Path, tmp_path: Path, target: Any) -> None:
    render(REPORT, results, target, tmp_path / "again", "typst")
    assert (tmp_path / "again").read_bytes() == (results / f"paper.{target}").read_bytes()


def test_a_watermark_stands_in_every_target_and_on_every_page(make: Callable[..., Path], tmp_path: Path) -> None:
    facts = document()
    facts["provenance"]["watermark"] = "Demonstration on 'digits', not a reproduction"
    folder = make(facts)
    for target in OUTPUTS:
        render(REPORT, folder, target, tmp_path / target, "typst")  # type: ignore[arg-type]
    for target in ("md", "html", "tex"):
        assert "not a reproduction" in (tmp_path / target).read_text(encoding="utf-8")[:30_000]
    assert all("not a reproduction" in page.extract_text() for page in PdfReader(tmp_path / "pdf").pages)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"commit": None, "unknown_because": "git is not installed"}, "code is not known: git is not installed."),
        ({"commit": "c" * 40, "dirty": None, "unknown_because": "git a_b"}, "that commit is not known: git a\\_b."),
        ({"commit": "c" * 40, "dirty": True}, "`, **with changes that were not committed**;"),
    ],
)
def test_what_git_does_not_tell_is_said_to_be_unknown(
    results: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], sentence: str
) -> None:
    nothing = {"commit": None, "date": None, "dirty": None, "unknown_because": None}
    monkeypatch.setattr("mlpaper.paper.render.commit", lambda: nothing | state)
    text = Paper(REPORT, results, "md").markdown()
    assert sentence in text
    assert "no repository" not in text


# --- other studies, other outcomes


def test_a_study_without_prose_gets_the_generic_section(make: Callable[..., Path]) -> None:
    facts = document()
    facts["study"] = {
        "made-up": facts["study"][STUDY]
        | {"title": "Made up", "figures": [f"made-up-{letter}" for letter in "abcd"], "tables": ["made-up-t"]}
    }
    facts["pools"] = {"made-up": facts["pools"][STUDY]}
    facts |= {"studies": ["made-up"], "claims": [], "figures": []}
    text = Paper(REPORT, make(facts), "md").document()
    main, appendix = text.split("## Appendix B. Made up")
    assert "## Made up" in main
    assert re.findall(r"figure-made-up-\w", main) == [f"figure-made-up-{letter}" for letter in "abc"]
    assert re.findall(r'id="(\w+-made-up-\w)"', appendix) == ["figure-made-up-d", "table-made-up-t"]


def test_a_table_in_which_nothing_was_measured_is_left_out(make: Callable[..., Path]) -> None:
    results = make(document())
    name = f"{STUDY}-placements"
    assert f'id="table-{name}"' in Paper(REPORT, results, "md").document()
    (results / "tables" / f"{name}.md").write_text("| batch size | time |\n|---|---:|\n| – | – |\n\nNot measured.\n")
    text = Paper(REPORT, results, "md").document()
    assert name not in text
    assert f'id="table-{STUDY}-cost"' in text


def test_a_study_with_fewer_items_still_renders(make: Callable[..., Path]) -> None:
    facts = document()
    facts["study"][STUDY] |= {"figures": [f"{STUDY}-samples"], "tables": []}
    facts["figures"] = []
    facts["provenance"] |= {"commit": None, "date": None}
    text = Paper(REPORT, make(facts), "md").document()
    assert "**Figure 1.**" in text
    assert "**Table 1.**" not in text


TWINS = ("M2", "M3a-pytorch", "M3b-pytorch", "M3a-as-coded-pytorch", "M3b-as-coded-pytorch", "baseline-pytorch")
HEAVY = ("best", "width-4192", "width-2096", "depth-2", "depth-3", "depth-4")
WORLDS = {
    "random": {"random": 1},
    "other": {"random": 2, "diverged": ["M0", "rate-5e-2", "plain-30", "depth-15", "batch-full", "momentum"]},
    "one seed": {"seeds": 1, "random": 3, "left_out": [*TWINS, *HEAVY]},
    "nothing": {"seeds": 1, "random": 4, "diverged": ["M1b", "baseline", "residual-30", "schedule-fixed"]},
}


@pytest.mark.parametrize("world", WORLDS)
def test_five_studies_read_well_whatever_came_out(make: Callable[..., Path], world: str) -> None:
    """Every figure and table once, no word of the program's own, whether runs diverged, were left out, or went well."""
    facts = document(STUDIES, **WORLDS[world])
    text = Paper(REPORT, make(facts), "md").document()
    items_of = [item for study in facts["study"].values() for kind in ("figures", "tables") for item in study[kind]]
    anchors = [text.count(f'<a id="{kind}-{item}"></a>') for item in set(items_of) for kind in ("figure", "table")]
    assert sum(anchors) == len(items_of)
    assert set(anchors) <= {0, 1}
    words = re.findall(r"\w+", text)
    assert not {"None", "inf", "Undefined", "Row"} & set(words)
    assert words.count("nan") == 3, "the naive softmax of large logits"
    assert not re.search(r"\{\{|\{%|\( *\)| ,|\.\.(?!\.)", re.sub(r"(?s)`[^`]*`|\$[^$]*\$|^\|.*?$", "X", text))
    assert ("**not run**" in text) == bool(WORLDS[world].get("left_out"))
    assert ("single seed" in text) == (facts["provenance"]["seeds"] == [0])
    lone = facts["provenance"]["seeds"] == [0]
    found = {
        word: text.count(f"**{word}**") for word in ("supported", "contradicted", "leaning for", "leaning against")
    }
    decided, leaning = found["supported"] + found["contradicted"], found["leaning for"] + found["leaning against"]
    assert (decided, leaning > 10) == (0, True) if lone else decided > 10 and not leaning


# --- main part and appendices


SHEET = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}"/>'


@pytest.fixture(scope="module")
def five(make: Callable[..., Path]) -> Path:
    """Five studies whose figures have the sizes of real ones: half a page, and that of all claims a whole one."""
    folder = make(document(STUDIES, random=1))
    for path in (folder / "figures").glob("*.svg"):
        write_text(path, SHEET.format(468, 612 if path.stem == "verdicts" else 317))
    return folder


def test_the_main_part_has_at_most_25_pages_and_the_first_figure_is_on_the_second(five: Path, tmp_path: Path) -> None:
    """Typeset with Typst, which takes the five seconds."""
    render(REPORT, five, "pdf", tmp_path / "paper.pdf", "typst")
    reader = PdfReader(tmp_path / "paper.pdf")
    starts = {str(entry.title): reader.get_destination_page_number(entry) for entry in _top(reader.outline)}
    appendices = [title for title in starts if title.startswith("Appendix")]
    assert [title.split(". ")[0] for title in appendices] == [f"Appendix {letter}" for letter in "ABCDEFG"]
    first = starts[appendices[0]]
    assert 15 < first <= 25, f"the main part has {first} pages"
    assert max(page for title, page in starts.items() if title not in appendices) < first
    assert reader.pages[first].extract_text().lstrip().startswith("Appendix A")
    assert "Figure 1. A caption" in reader.pages[1].extract_text()


def _top(outline: list[Any]) -> list[Any]:
    return [entry for entry in outline if not isinstance(entry, list)]


@pytest.mark.parametrize("target", ["md", "html", "tex", "typ"])
def test_appendices_are_labelled_and_hold_what_the_main_part_does_not(five: Path, target: Any) -> None:
    text = Paper(REPORT, five, target).document()
    heads = [re.search(rf"Appendix {letter}\. (?!.*\.\.\.)", text) for letter in "ABCDEFG"]
    assert all(heads)
    start = text.rindex("Appendix A. Methods")
    assert text.index("How to reproduce this paper", start) > start
    settings = {"md": f'id="table-{STUDY}-settings"', "html": f'id="table-{STUDY}-settings"'}
    settings |= {"tex": f"\\label{{table-{STUDY}-settings}}", "typ": f"<table-{STUDY}-settings>"}
    assert text.rindex(settings[target]) > start, "placed in the appendix, and referred to before"
    assert "#appendix-residual-depth" in text if target in ("md", "html") else "appendix-residual-depth" in text


# --- macros


@pytest.fixture
def numbers() -> Numbers:
    return Numbers(document(), "md")


def test_numbers_print_mean_interval_and_unit(numbers: Numbers) -> None:
    assert numbers.num(f"{STUDY}.M0.test_accuracy") == "80.00 ± 0.12\u00a0%"
    assert numbers.num(f"{STUDY}.M1d.validation_accuracy") == "diverged"
    assert numbers.published(f"{STUDY}.M0.test_accuracy") == "87.45\u00a0%"
    assert numbers.num(f"{STUDY}.M0.parameters").startswith("111,791")


def test_differences_are_paired_by_seed(numbers: Numbers) -> None:
    arguments = (STUDY, "M1b", "M1a", "validation_accuracy")
    assert numbers.difference(*arguments) == "+1.00 ± 0.00\u00a0points"
    assert numbers.relation(*arguments) == "above"
    assert numbers.relation(STUDY, "M1a", "M1b", "validation_accuracy") == "below"
    assert numbers.relation(STUDY, "M1a", "M1a-as-coded", "validation_accuracy") == "level"
    assert numbers.relation(STUDY, "M1d", "M1a", "validation_accuracy") == "diverged"


def test_values_that_a_setting_has_in_any_run(numbers: Numbers) -> None:
    assert numbers.used("network.activation") == ["relu", "gelu", "silu"]
    assert numbers.used("optimizer.nesterov") == [False], "of gradient descent; Adam has none"
    assert numbers.used("optimizer.nesterof") == []


def test_settings_pools_and_datasets(numbers: Numbers) -> None:
    assert numbers.setting(f"{STUDY}.M0.network.hidden") == "[128, 64]"
    assert numbers.setting(f"{STUDY}.M1b.optimizer.epsilon") == "$10^{-8}$"
    assert numbers.setting_value(f"{STUDY}.M1b.optimizer.epsilon") == 1e-8
    assert numbers.images(f"{STUDY}.M0") == "EMNIST ByMerge"
    assert numbers.pool(f"{STUDY}.count") == "116,323"
    assert numbers.dataset(STUDY) == "EMNIST ByMerge, the official test part alone"


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("num('emnist-bymerge.M0.test_acuracy')", "emnist-bymerge.M0.test_accuracy"),
        ("setting('emnist-bymerge.M0.optimizer.lerning_rate')", "learning_rate"),
        ("setting('emnist-bymerg.M0.epochs')", "emnist-bymerge.M0"),
        ("pool('emnist-bymerge.cont')", "count"),
        ("figure('emnist-bymerge-sample')", "emnist-bymerge-samples"),
        ("table('emnist-bymerge-m1x')", "emnist-bymerge-m1"),
    ],
)
def test_unknown_keys_name_place_and_nearest_key(results: Path, report: Path, call: str, advice: str) -> None:
    with pytest.raises(RenderError, match=rf"paper\.md\.j2:3: .*did you mean `{advice}`"):
        fill(report, results, f"One\n\n{{{{ {call} }}}}\n")


def test_links_may_point_forwards(results: Path, report: Path) -> None:
    name = f"{STUDY}-m1-curves"
    text = fill(
        report, results, f"{{{{ ref('{name}') }}}}\n{{{{ figure('{STUDY}-samples') }}}}\n{{{{ figure('{name}') }}}}"
    )
    assert text.startswith(f"[Figure\u00a02](#figure-{name})")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{{{{ ref('{STUDY}-m1') }}}}", "placed nowhere"),
        (f"{{{{ figure('{STUDY}-samples') }}}}{{{{ figure('{STUDY}-samples') }}}}", "placed twice"),
        (
            f"{{{{ figure('{STUDY}-noise') }}}}{{{{ table('{STUDY}-noise') }}}}{{{{ ref('{STUDY}-noise') }}}}",
            "a figure and a table",
        ),
        ("\n{{ nothing }}", r"paper\.md\.j2:2: 'nothing' is undefined"),
        ("\n{% if %}", r"paper\.md\.j2:2: "),
    ],
)
def test_wrong_templates_are_errors_with_a_place(results: Path, report: Path, text: str, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        fill(report, results, text)


def test_a_citation_without_an_entry_is_an_error(results: Path, report: Path) -> None:
    (report / "paper.md.j2").write_text("See [@nobody].")
    with pytest.raises(RenderError, match="nobody"):
        Paper(report, results, "md").document()


def test_wide_tables_break_their_long_columns_only(tmp_path: Path) -> None:
    words = "word " * 30
    write_text(tmp_path / "tables" / "t.md", f"| a | b | c |\n|---|---|--:|\n| M0-as-coded | {words} | 1.0 |\n")
    shares = Item("t", "table", 1, {}, tmp_path).shares
    assert [share > 0 for share in shares] == [False, True, False]
    assert sum(shares) <= 100


# --- lint


@pytest.mark.parametrize(
    "prose",
    [
        "M1a beats M0 by {{ num('a.b.c') }}, in float32, with L2.",
        "An image has $28 \\times 28$ pixels and\n$$\n784 = 28^2\n$$\nof them.",
        "As in [@cohen2017, and elsewhere], see [this](page-3.html) and <https://example.org/12>.",
        "`--cores 4` and\n```\nsnakemake --cores 4\n```\n",
        "{# 12 #}{% if value('a') > 0.5 %}above{% endif %}<!-- 13 -->",
        "[text]{.num key=3} and SHA-256",
    ],
)
def test_prose_without_bare_numbers_passes(prose: str) -> None:
    assert list(lint.bare_numbers(Path("a.md.j2"), prose)) == []


@pytest.mark.parametrize(
    ("prose", "line", "text"),
    [
        ("M1a reaches 88.58 % here.", 1, "88.58 %"),
        ("{{ x }}\n\nabout 30 epochs", 3, "30"),
        ("{% if x %}\na loss of 1e-3{% endif %}", 2, "1e-3"),
        ("it costs $5 and", 1, "5"),
        ("$x$ of -0.5", 1, "-0.5"),
        ("of 814,255 images", 1, "814,255"),
    ],
)
def test_bare_numbers_are_found(prose: str, line: int, text: str) -> None:
    (found,) = lint.bare_numbers(Path("a.md.j2"), prose)
    assert (found.line, found.text) == (line, text)


def test_a_bare_number_stops_the_build(results: Path, report: Path, tmp_path: Path) -> None:
    section = report / "sections" / f"{STUDY}.md.j2"
    section.write_text(section.read_text(encoding="utf-8") + "\nIt reached 88.58 per cent.\n", encoding="utf-8")
    with pytest.raises(RenderError, match=rf"{STUDY}\.md\.j2:\d+: bare number `88.58`(.|\n)*published"):
        render(report, results, "md", tmp_path / "paper.md")
    assert not (tmp_path / "paper.md").exists()
