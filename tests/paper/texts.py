"""Texts that mean something to one of the languages that a paper passes through, for properties."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import strategies as st
from pydantic import TypeAdapter

from mlpaper.study.schema.names import Text

PIECES = (
    "a", "bc", "xyz", "Q", "1.", "2)", "iv.", " ", "  ", "\n", "\n\n", "\u00a0", "é", "σ", "€", "−",
    "-", "--", "---", "+", "=", ":", ":::", "...", "Table:", ",", ",,", ";", "/", "?", "!", "![", "://", "https://x.y/a_b",
    "*", "**", "_", "__", "`", "``", "~", "~~", "^", "^[", "#", "##", "|", "\\", "\\\\", "\\n", "\\textbf{a}", "%", "@",
    "$", "$$", "$x$", "{", "}", "{ij}", "{{", "}}", "{{ x }}", "{%", "%}", "{#", "#}", "{.b}", "{=html}", "[", "]",
    "(", ")", "[a](b)", "[@k]", "@10", "<", ">", "<b>", "</p>", "</script>", "<!--", "-->", "&", "&amp;", "&#64;",
    '"', "'", "''", "-5",
)  # fmt: skip
"""Signs and words that one of the languages takes for its own, and what may stand beside them."""
OTHER = ("中文", "😀", "שלום", "مرحبا")
"""Scripts that not every type has."""


def pieces(of: tuple[str, ...] = PIECES) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(of), min_size=1, max_size=9).map("".join)


def plain(of: tuple[str, ...] = PIECES) -> st.SearchStrategy[str]:
    """Plain text, as the schema gives it."""
    return pieces(of).filter(str.strip).map(TypeAdapter(Text).validate_python)


class Page(HTMLParser):
    """The text of a page, without that of its scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.hidden = "", False
        self.images: list[dict[str, str | None]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("script", "style")
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text += data


def words(text: str) -> str:
    """Text with every space of whatever length one space."""
    return re.sub(r"[ \t\r\n]+", " ", text)
