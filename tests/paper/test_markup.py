"""What users write comes out of every language as it went in; prose has the markup that `parse` finds and no other."""

from __future__ import annotations

import json
import re
from typing import Any

import pypandoc
import pytest
import typst
from docutils.core import publish_parts
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from texts import OTHER, PIECES, Page, pieces, plain, words

from mlpaper import markup
from mlpaper.paper.render import READER

MARKUP = ("*a b*", "`c $d`", "**e**", "_f_", "[g](https://h.i/j_k)")
NO_DOLLARS = tuple(piece for piece in PIECES if "$" not in piece)
MANY = st.lists(plain((*PIECES, *OTHER)), min_size=30, max_size=30)


def pandoc(source: str, to: str, read: str = READER) -> str:
    return str(pypandoc.convert_text(source, to, read, extra_args=["--wrap=none", "--columns=10000"]))


def contexts(text: str) -> str:
    """A text wherever templates write one."""
    begins, inside = markup.markdown(text), markup.markdown(text, inside=True)
    return f"# {begins}\n\n{begins}\n\n- {begins}\n\n*{inside}*\n\n| {inside} |\n|---|\n"


def shown(markdown: str) -> list[str]:
    """Text of the blocks that pandoc reads."""
    return [words(block) for block in Page(pandoc(markdown, "html")).text.strip("\n").split("\n") if block]


@given(MANY)
@settings(max_examples=15, phases=[Phase.generate])
def test_plain_text_is_what_pandoc_reads_in_every_place(texts: list[str]) -> None:
    document = "\n\n".join(f"{contexts(text)}\n\nEND" for text in texts)
    found = [block for block in shown(document) if block != "END"]
    assert found == [text for text in texts for _ in range(5)]


@given(MANY)
@settings(max_examples=15, phases=[Phase.generate])
def test_plain_text_survives_in_a_page_in_markdown_and_in_latex(texts: list[str]) -> None:
    table = "\n".join(f"| {markup.markdown(text, inside=True)} |" for text in ["head", *texts]).replace(
        "|\n", "|\n|---|\n", 1
    )
    reader = MarkdownIt("commonmark").enable("table")
    github = Page(reader.render(table)).text
    assert [words(line) for line in github.split("\n") if line.strip()][1:] == texts
    texts = [text.replace("`", "'") for text in texts]  # pandoc does not know \\textasciigrave
    rows = " \\\\\n".join(markup.latex(text) for text in texts)
    back = pandoc(f"\\begin{{tabular}}{{l}}\n{rows}\n\\end{{tabular}}", "html", "latex")
    assert [words(line) for line in Page(back).text.split("\n") if line.strip()] == texts


@given(MANY)
@settings(max_examples=10, phases=[Phase.generate])
def test_plain_text_is_one_string_of_typst_and_of_a_style_sheet(texts: list[str]) -> None:
    source = "".join(f"#metadata({markup.typst(text)})<t>\n" for text in texts)
    assert json.loads(typst.query(source.encode(), "<t>", field="value")) == texts
    for text in texts:
        sheet = markup.css(text)
        assert re.fullmatch(r"(?:[A-Za-z0-9]|\\[0-9a-f]+ )*", sheet)
        assert re.sub(r"\\([0-9a-f]+) ", lambda found: chr(int(found[1], 16)), sheet) == text


@given(st.lists(pieces((*PIECES, *MARKUP, "[@he2016, p. 3]", *OTHER)), min_size=30, max_size=30))
@settings(max_examples=25, phases=[Phase.generate])
def test_prose_has_for_pandoc_the_markup_that_parse_finds(texts: list[str]) -> None:
    texts = [words(text).strip(" \u00a0") for text in texts if text.strip()]
    source = "\n\n".join(map(markup.prose_markdown, texts))
    blocks = json.loads(pandoc(source, "json"))["blocks"]
    assert [block["t"] for block in blocks] == ["Para"] * len(texts)
    assert [tuple(_read(block["c"])) for block in blocks] == [tuple(_joined(_meant(text))) for text in texts]


def _meant(prose: str) -> list[tuple[str, str]]:
    """Kinds and contents of the parts of prose, markup inside of others laid open."""
    found: list[tuple[str, str]] = []
    for part in markup.parse(prose):
        if part.kind in ("emphasis", "strong", "link"):
            found += [(f"{part.kind} {kind}", text) for kind, text in _meant(part.content)]
        elif part.kind == "citation":
            found.append(("citation", " ".join(markup.citations(f"[{part.content}]"))))
        else:
            found.append((part.kind, part.content))
    return found


def _read(inlines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The same of what pandoc read."""
    found: list[tuple[str, str]] = []
    for inline in inlines:
        match inline:
            case {"t": "Str", "c": text}:
                found.append(("text", text))
            case {"t": "Space"}:
                found.append(("text", " "))
            case {"t": "Code", "c": [_, text]}:
                found.append(("code", text))
            case {"t": "Math", "c": [{"t": "InlineMath"}, text]}:
                found.append(("formula", text))
            case {"t": "Emph", "c": inner}:
                found += [(f"emphasis {kind}", text) for kind, text in _read(inner)]
            case {"t": "Strong", "c": inner}:
                found += [(f"strong {kind}", text) for kind, text in _read(inner)]
            case {"t": "Link", "c": [_, inner, _]}:
                found += [(f"link {kind}", text) for kind, text in _read(inner)]
            case {"t": "Cite", "c": [cites, _]}:
                found.append(("citation", " ".join(cite["citationId"] for cite in cites)))
            case other:
                raise AssertionError(f"pandoc reads {other}")
    return _joined(found)


def _joined(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for kind, text in parts:
        if found and found[-1][0] == kind and kind.endswith("text"):
            found[-1] = (kind, found[-1][1] + text)
        else:
            found.append((kind, text))
    return found


@given(st.lists(pieces((*NO_DOLLARS, *MARKUP, *OTHER)), min_size=30, max_size=30))
@settings(max_examples=25, phases=[Phase.generate])
def test_prose_is_a_paragraph_of_restructured_text(texts: list[str]) -> None:
    texts = [words(text).strip(" \u00a0") for text in texts if text.strip()]
    page = publish_parts("\n\n".join(map(markup.prose_rst, texts)), writer="html")["body"]
    assert "system-message" not in page
    assert [words(paragraph) for paragraph in Page(page).text.strip("\n").split("\n")] == list(map(markup.bare, texts))


@pytest.mark.parametrize(
    "formula", [r"L_{ij}", r"\frac{a}{b}", r"\sigma \le 0.5", r"\mathbb{R}^n", r"a \coloneqq \llbracket b"]
)
def test_a_formula_is_a_formula_in_restructured_text_or_shown_as_it_is_written(formula: str) -> None:
    page = publish_parts(markup.prose_rst(f"of${formula}$s"), writer="html")["body"]
    assert 'class="formula"' in page
    assert "system-message" not in page
