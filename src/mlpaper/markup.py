r"""Texts that a user writes in a study file, and how each output writes them.

Plain text (`Text` in `mlpaper.study.schema.names`) is shown as it is written, whatever characters it holds. `Prose` has
the markup that `parse` finds, a part of Markdown, and no other: all else in it is plain text too. The functions here
write plain text and prose for one output each, so that nothing of it is taken for markup of that output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "emphasis", "strong", "code", "formula", "link", "citation"]

SET = re.compile(
    "[\n -~\u00a0-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u0165\u0168-\u017e\u2010-\u2014\u2018-\u201a"
    "\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122\ufb00-\ufb06"
    "−±×·≤≥≈≠∞∈→√αβγδεζηθκλμνξπρστφχψωΔΣΩ₀₁₂₃₄₅₆₇₈₉⁰⁴⁵⁶⁷⁸⁹⁻]*"
)
"""Texts of characters that every output has in its own type. `report/style/template.tex` declares the last line's."""
_CONTENT = r"(?:`[^`]+`|\$[^$]+\$|[^{mark}`$])+?"
_KEY = r"@(\w(?:[\w:./+-]*\w)?)"
_MARKUP = re.compile(
    rf"""
      \\(?P<escaped>[!-/:-@\[-`{{-~])
    | (?<!`)(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)
    | (?<!\$)\$(?![\s$])(?P<formula>(?:[^$\\]|\\.)+?)(?<!\s)\$(?![\d$])
    | (?<![\w*])\*\*(?=\S)(?P<strong>{_CONTENT.format(mark="*")})(?<=\S)\*\*(?![\w*])
    | (?<![\w*])\*(?=\S)(?P<emphasis>{_CONTENT.format(mark="*")})(?<=\S)\*(?![\w*])
    | (?<![\w_])_(?=\S)(?P<underlined>{_CONTENT.format(mark="_")})(?<=\S)_(?![\w_])
    | \[(?P<link>[^][]+)\]\((?P<url>https?://[^\s()<>"\\^`{{|}}]+)\)
    | \[(?P<citation>[^][@`$*]*{_KEY}[^][`$*]*)\](?![(\[])
    """,
    re.VERBOSE,
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    **{character: f"\\{character}" for character in "#$%&_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # which a line break would take for its own
    **{character: f"${character}$" for character in "<>"},
    "\u00a0": "~",
    "–": "--",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "°": r"$^\circ$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "₁": "$_1$",
    "₂": "$_2$",
}
_BLOCK = re.compile(r"^(?:[-+=:%]|(?:\(?\w+)[.)](?=\s|$)|[Tt]able:)")
"""What would begin a list, a rule, a definition or a caption where it begins a paragraph."""


@dataclass(frozen=True)
class Part:
    """A part of prose: plain text, or one piece of markup."""

    kind: Kind
    content: str
    """Of plain text, code and formulas the text itself; of other markup the prose inside."""
    url: str = ""
    """Where a link leads."""


def parse(prose: str) -> list[Part]:
    r"""The parts of prose.

    Markup is ``*emphasis*`` (or with underscores), ``**strong**``, a code span between backticks, ``$formula$`` in the
    language of LaTeX, ``[text](https://...)``, and ``[@key]``, a citation, which may hold several keys and other words.
    ``\`` makes the punctuation mark after it plain. Markup that does not end is plain text, and so is `@key` alone.

    >>> for part in parse("Loss $L_{ij}$ of *all* at $5 each."):
    ...     print(part.kind, repr(part.content))
    text 'Loss '
    formula 'L_{ij}'
    text ' of '
    emphasis 'all'
    text ' at $5 each.'
    """
    parts: list[Part] = []
    plain, end = "", 0
    for found in _MARKUP.finditer(prose):
        plain += prose[end : found.start()]
        end = found.end()
        if found["escaped"]:
            plain += found["escaped"]
            continue
        if plain:
            parts.append(Part("text", plain))
            plain = ""
        parts.append(_part(found))
    plain += prose[end:]
    return [*parts, Part("text", plain)] if plain else parts


def _part(found: re.Match[str]) -> Part:
    if found["code"] is not None:
        return Part("code", found["code"].strip(" ") or found["code"])
    for kind in ("formula", "strong", "emphasis", "link", "citation"):
        if found[kind] is not None:
            return Part(kind, found[kind], found["url"] or "")
    return Part("emphasis", found["underlined"])


def citations(prose: str) -> list[str]:
    """Keys that prose cites, in its order.

    >>> citations("As in [see @he2016, p. 3; @kingma2015], not me@example.org or @10.")
    ['he2016', 'kingma2015']
    """
    return [key for part in _all(prose) if part.kind == "citation" for key in re.findall(_KEY, part.content)]


def formulas(prose: str) -> list[str]:
    """Formulas in prose, in its order, without their dollar signs."""
    return [part.content for part in _all(prose) if part.kind == "formula"]


def _all(prose: str) -> Iterator[Part]:
    """Every part, those inside of other parts included."""
    for part in parse(prose):
        yield part
        if part.kind in ("emphasis", "strong", "link"):
            yield from _all(part.content)


# --- plain text


def markdown(text: str, inside: bool = False) -> str:
    r"""Plain text in Markdown, on one line, as pandoc and GitHub read it; `inside` where it begins no paragraph.

    >>> print(markdown("a|b, 2 * 3, `l_2`, {x}, [@y]"))
    a\|b, 2 \* 3, \`l\_2\`, \{x\}, \[\@y\]
    >>> print(markdown("1. No list"), markdown("- nor here"))
    1\. No list \- nor here
    """
    escaped = _markdown(_one_line(text))
    return escaped if inside else _paragraph(escaped)


def rst(text: str) -> str:
    r"""Plain text in reStructuredText.

    >>> print(rst("a_b: 2 * 3"))
    a\_b\: 2 \* 3
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", _one_line(text))


def latex(text: str) -> str:
    r"""Plain text in LaTeX, with the package textcomp.

    >>> print(latex("50 % & a_b, `x` -- {y}"))
    50 \% \& a\_b, \textasciigrave{}x\textasciigrave{} -{}- \{y\}
    """
    return "".join(
        f"{ending}{{}}" if (ending := found["twin"]) else _LATEX.get(found[0], found[0])
        for found in re.finditer(r"(?P<twin>([-,])(?=\2))|.", _one_line(text))  # -- and ,, are other signs in TeX
    )


def css(text: str) -> str:
    r"""Plain text between the quotes of a string in a style sheet.

    >>> css('a"').split()
    ['a\\22']
    """
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"\\{ord(found[0]):x} ", _one_line(text))


def typst(text: str) -> str:
    r"""Plain text as a string of Typst, quotes included.

    >>> print(typst('a "b" \\ <c>'))
    "a \"b\" \\ <c>"
    """
    return '"' + re.sub(r'(["\\])', r"\\\1", _one_line(text)) + '"'


def report_label(text: str) -> str:
    """Plain text for the labels and categories of Snakemake's report.

    Snakemake fills in words in braces, which cannot be escaped, and puts labels into a script of the page. An invisible
    joiner of words (U+2060) keeps both from finding any.

    >>> report_label("{x} </script>").replace(chr(0x2060), "|")
    '{|x} <|/script>'
    """
    return re.sub(r"(\{)|(<)(?=[/!])", "\\g<0>\u2060", _one_line(text))


def _one_line(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", " ", text)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>$~^|@#&!])", r"\\\1", text)


def _paragraph(markdown: str) -> str:
    """Markdown that begins a paragraph and nothing else."""
    found = _BLOCK.match(markdown)
    return f"{markdown[: found.end() - 1]}\\{markdown[found.end() - 1 :]}" if found else markdown


# --- prose


def prose_markdown(prose: str) -> str:
    r"""Prose in pandoc's Markdown, on one line: its markup, and all else as plain text.

    >>> print(prose_markdown("An `open *x*, a_b, @10, $x_i$ and [@he2016]."))
    An \`open *x*, a\_b, \@10, $x_i$ and [@he2016].
    """
    return _paragraph(_inline(_one_line(prose)))


def _inline(prose: str) -> str:
    return "".join(map(_part_markdown, parse(prose)))


def _part_markdown(part: Part) -> str:
    match part.kind:
        case "emphasis":
            return f"*{_inline(part.content)}*"
        case "strong":
            return f"**{_inline(part.content)}**"
        case "code":
            ticks = "`" * (1 + max((len(run) for run in re.findall("`+", part.content)), default=0))
            return f"{ticks} {part.content} {ticks}" if "`" in part.content else f"`{part.content}`"
        case "formula":
            return f"${part.content}$"
        case "link":
            return f"[{_inline(part.content)}]({part.url})"
        case "citation":
            keys = re.split(_KEY, part.content)
            return f"[{''.join(f'@{text}' if place % 2 else _markdown(text) for place, text in enumerate(keys))}]"
    return _markdown(part.content)


def prose_rst(prose: str) -> str:
    r"""Prose as one paragraph of reStructuredText, for Snakemake's report; markup inside of markup is plain there.

    >>> print(prose_rst("Mean of *all* seeds, $\\sigma \\le 0.5$; `l_2` and [@he2016]"))
    Mean of *all* seeds\, :math:`\sigma \le 0.5`\ \; ``l_2`` and \[he2016\]
    """
    joined, was_marked = "", False
    for part in parse(_one_line(prose)):
        written = _part_rst(part)
        marked = written[:1] in (":", "`", "*")
        if joined and not joined[-1].isspace() and (marked or was_marked) and not written[:1].isspace():
            joined += "\\ "  # printed as nothing; markup needs it where a word touches it
        joined, was_marked = joined + written, marked
    return joined


def _part_rst(part: Part) -> str:
    match part.kind:
        case "emphasis":
            return f"*{rst(bare(part.content))}*"
        case "strong":
            return f"**{rst(bare(part.content))}**"
        case "code" if "`" not in part.content:
            return f"``{part.content}``"
        case "formula" if "`" not in part.content:
            return f":math:`{part.content}`"
    return rst(_bare_part(part))


def bare(prose: str) -> str:
    """The words of prose, without its markup."""
    return "".join(map(_bare_part, parse(prose)))


def _bare_part(part: Part) -> str:
    match part.kind:
        case "emphasis" | "strong" | "link":
            return bare(part.content)
        case "citation":
            return f"[{part.content.replace('@', '')}]"
        case "formula":
            return f"${part.content}$"
    return part.content
