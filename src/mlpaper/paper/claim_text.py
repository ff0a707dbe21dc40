"""Claims in words: what a rule asks, what was published, what we found, for tables, prose and the terminal."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import TypeAdapter

from mlpaper import markup
from mlpaper.errors import MlpaperError, RenderError, nearest
from mlpaper.paper import number_format as fmt
from mlpaper.study import rules
from mlpaper.study.ledger import AS_CODED, DECIDED, IMAGES_ALONE, VERDICTS, expected_wrong
from mlpaper.study.stats import Summary

_CLAIM: TypeAdapter[rules.ClaimSpec] = TypeAdapter(rules.ClaimSpec)
Outcome = Literal["held", "failed", "open", "not run"]
"""Outcome of a claim, whatever its rule: the word that the prose branches on."""
OUTCOMES: Mapping[str, Outcome] = {
    "supported": "held",
    "reproduced": "held",
    "contradicted": "failed",
    "not reproduced": "failed",
    "leaning for": "open",
    "leaning against": "open",
    "inconclusive": "open",
    "not comparable": "open",
    "not run": "not run",
}

MARKS: Mapping[str, str] = {
    "supported": "✓",
    "reproduced": "✓",
    "contradicted": "✗",
    "not reproduced": "✗",
    "leaning for": "↑",
    "leaning against": "↓",
    "inconclusive": "?",
    "not comparable": "≠",
    "not run": "·",
}
"""A verdict as one character."""

Kind = Literal["source", "as coded", "arithmetic", "ours"]
"""How a row is counted: a claim of a source as written, its second reading, a count of parameters, or our question."""


@dataclass(frozen=True)
class Row:
    """One row of the ledger (`mlpaper.study.ledger.COLUMNS`)."""

    facts: Mapping[str, Any]

    @cached_property
    def claim(self) -> rules.ClaimSpec:
        """The claim itself."""
        return _CLAIM.validate_json(self.facts["claim"])

    @cached_property
    def means(self) -> dict[str, float | None]:
        """Run to its mean."""
        means: dict[str, float | None] = json.loads(self.facts["means"])
        return means

    @property
    def metric(self) -> str:
        """The metric in words."""
        return fmt.label(self.facts["metric"])

    @property
    def rule(self) -> str:
        """What would support or reproduce the claim: `test accuracy: M3b − M0 above 0`."""
        return self.claim.asked(self)

    @property
    def published(self) -> str:
        """The published number with its unit, or an en dash."""
        value = self.facts["published"]
        return fmt.MISSING if value is None else self.amount(value)

    def amount(self, value: float) -> str:
        """A number like the claim's own, with its unit."""
        if self.facts["rule"] == "speed":
            return f"{value:.3g} times"
        return self.signed(Summary(value, None, 1)) if self.is_difference else self.quantity(value)

    @property
    def is_difference(self) -> bool:
        """Whether its numbers are differences of two runs."""
        return self.facts["rule"] in ("difference", "contrast") or getattr(self.claim, "minus", None) is not None

    @property
    def is_apart(self) -> bool:
        """Whether its number is another quantity than the metric of its runs."""
        return self.is_difference or self.facts["rule"] == "speed"

    @property
    def source(self) -> str:
        """Where the claim comes from and how it is tested: `table 2; an explanation, tested by a control`."""
        tested = f", tested by a {self.facts['tested_by']}" if self.facts["tested_by"] else ""
        origin = {"result": "", "explanation": "an explanation", "conclusion": "a conclusion", "ours": "our question"}
        reading = "as coded" if self.facts["reading"] == "as coded" else ""
        parts = (self.facts["place"], f"{origin[self.facts['origin']]}{tested}", reading)
        return "; ".join(filter(None, parts))

    @property
    def ours(self) -> str:
        """What was measured, with its unit; an en dash where nothing was."""
        return self.claim.found(self) if self.facts["verdict"] != "not run" else self.missing

    @property
    def here(self) -> str:
        """What was measured, with the metric and the runs: `validation accuracy, M1b − M1a: +6.1 points`."""
        return self.claim.here(self)

    @property
    def outcome(self) -> Outcome:
        """Its verdict, whatever its rule."""
        return OUTCOMES[self.facts["verdict"]]

    @property
    def mark(self) -> str:
        """Its verdict as one character."""
        return MARKS[self.facts["verdict"]]

    @property
    def kind(self) -> Kind:
        """How it is counted: a second reading of any kind is only that."""
        if self.facts["reading"] == "as coded":
            return "as coded"
        kinds: dict[str, Kind] = {"arithmetic": "arithmetic", "ours": "ours"}
        return kinds.get(self.facts["kind"], "source")

    @property
    def anchor(self) -> str:
        """Identifier of the place in the document that tells it."""
        return f"claim-{self.facts['study']}-{self.facts['id']}"

    @property
    def card(self) -> str:
        """Identifier of its card in the HTML page."""
        return f"card-{self.facts['study']}-{self.facts['id']}"

    @property
    def summary(self) -> Summary | None:
        """Our number with its interval."""
        value = self.facts["value"]
        return None if value is None else Summary(value, self.facts["half_width"], self.facts["seeds"])

    @property
    def probability(self) -> str:
        """The probability that the claim holds: `0.97`, at a limit `0.953`; empty where there is none."""
        found = self.facts["probability"]
        if found is None:
            return ""
        if not 0.01 <= found <= 0.99:
            return "> 0.99" if found > 0.99 else "< 0.01"
        return f"{found:.3f}" if f"{found:.2f}" in ("0.05", "0.95") else f"{found:.2f}"

    missing = fmt.MISSING
    """Stands where there is no number."""

    def signed(self, summary: Summary | None) -> str:
        """A difference with its sign, interval and unit."""
        suffix = fmt.difference_unit(self.facts["metric"])
        text = fmt.difference(self.facts["metric"], summary)
        return f"{text} {suffix}" if suffix and summary is not None else text

    def number(self, value: float | None) -> str:
        """A number of the claim's metric, without unit."""
        return fmt.number(self.facts["metric"], value)

    def quantity(self, value: float | None) -> str:
        """A number of the claim's metric, with unit."""
        return fmt.quantity(self.facts["metric"], value)

    def value(self, summary: Summary | None) -> str:
        """A mean with its interval and unit."""
        if summary is None:
            return self.missing
        return f"{fmt.value(self.facts['metric'], summary)} {fmt.unit(self.facts['metric'])}".strip()

    def distance(self, value: float) -> str:
        """A margin or tolerance, without sign."""
        suffix = fmt.difference_unit(self.facts["metric"])
        return f"{fmt.number(self.facts['metric'], value)} {suffix}".strip()

    def bounds(self) -> str:
        """The least and the largest mean."""
        known = [mean for mean in self.means.values() if mean is not None]
        if not known:
            return self.missing
        if len(known) == 1:
            return self.quantity(known[0])
        return f"{self.number(min(known))} to {self.quantity(max(known))}"


class Claims:
    """The ledger, as the templates ask for it.

    Parameters
    ----------
    rows
        Rows of the ledger.
    target
        In HTML a verdict is coloured.

    Raises
    ------
    RenderError
        From every method that takes a claim: there is no such claim. The message names the nearest one.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], target: str) -> None:
        self.rows = {f"{row['study']}.{row['id']}": Row(_escaped(row)) for row in rows}
        self.target = target
        self.told: set[str] = set()
        """Claims that the text has printed."""

    def macros(self) -> dict[str, Callable[..., Any]]:
        """The functions that templates see, by name."""
        names = "claim claims as_coded examples outcome finding places untold verdicts wrong"
        return {name: getattr(self, name) for name in names.split()}

    def claim(self, study: str, name: str) -> Row:
        """One row of the ledger."""
        key = f"{study}.{name}"
        if key not in self.rows:
            raise RenderError(f"the ledger has no claim `{key}`{nearest(key, self.rows)}")
        return self.rows[key]

    def as_coded(self, study: str, name: str) -> Row | None:
        """The same claim read as coded, if it is."""
        return self.rows.get(f"{study}.{name}{AS_CODED}")

    def claims(self, study: str | None = None, *outcomes: str, kind: str | None = None) -> list[Row]:
        """Rows of a study, or of all, with one of these outcomes, or with any."""
        return [
            row
            for row in self.rows.values()
            if study in (None, row.facts["study"])
            and (not outcomes or row.outcome in outcomes)
            and kind in (None, row.kind)
        ]

    def examples(self, names: Sequence[str], held: int = 3, failed: int = 2) -> list[Row]:
        """Claims for the abstract: the first of `names`, then of all claims of sources, that held and that failed.

        Where fewer of one kind are there, more of the other take their places. A name of a study that is not part of
        the paper is passed over.
        """
        studies = {row.facts["study"] for row in self.rows.values()}
        named = [self.claim(*name.split(".", 1)) for name in names if name.split(".", 1)[0] in studies]
        rows = named + [row for row in self.claims(kind="source") if row not in named]
        holding, failing = ([row for row in rows if row.outcome == outcome] for outcome in ("held", "failed"))
        more = max(held - len(holding), 0), max(failed - len(failing), 0)
        return holding[: held + more[1]] + failing[: failed + more[0]]

    def outcome(self, study: str, name: str) -> Outcome:
        """The outcome of a claim: for conditions."""
        return self.claim(study, name).outcome

    def verdict(self, study: str, name: str) -> str:
        """The verdict on a claim, in bold; in HTML a link to the claim's card."""
        word = self.claim(study, name).facts["verdict"]
        if self.target != "html":
            return f"**{word}**"
        return f"[{word}](#{self.claim(study, name).card}){{.verdict .{word.replace(' ', '-')}}}"

    def finding(self, study: str, name: str) -> str:
        """Our number, the published one and the verdict; the text has then printed the claim.

        `validation accuracy, M1b − M1a: +6.1 points (published: +6.1 points), **supported**`
        """
        row = self.claim(study, name)
        self.told.add(f"{study}.{name}")
        remark = row.facts["remark"]
        if row.outcome == "not run":
            return f"{self.verdict(study, name)} ({remark})"
        published = f" (published: {row.published})" if row.facts["published"] is not None else ""
        ours = "" if row.ours == fmt.MISSING else f"{self._marked(row)}{published}, "
        notes = [f"probability {row.probability}" if row.probability else "", remark]
        said = "; ".join(filter(None, notes))
        return f"{ours}{self.verdict(study, name)}" + (f" ({said})" if said else "")

    def _marked(self, row: Row) -> str:
        """What was measured; in HTML, a single number says which runs it comes from."""
        here, ours = row.here, row.ours
        if self.target != "html" or row.facts["value"] is None or not here.endswith(ours):
            return here
        key = f"{row.facts['study']}.{row.facts['id']}"
        span = f'[{ours}]{{.num title="{key}" runs="{" ".join(row.facts["runs"])}"}}'
        return here.removesuffix(ours) + span

    def untold(self, study: str) -> list[str]:
        """Claims of a study that the text has not printed yet; a second reading belongs to the first."""
        return [
            str(row.facts["id"])
            for key, row in self.rows.items()
            if row.facts["study"] == study
            and key not in self.told
            and not (row.facts["reading"] == "as coded" and key.removesuffix(AS_CODED) in self.rows)
        ]

    def places(self, study: str) -> dict[str, str]:
        """Id of a claim to a link to where the text tells it; where it does not, to an anchor."""
        told = {str(row.facts["id"]): key in self.told for key, row in self.rows.items() if row.facts["study"] == study}
        anchors = {name: self.claim(study, name).anchor for name in told}
        return {
            name: f"[{name}](#{anchor})" if told[name] else f"[{name}]{{#{anchor}}}" for name, anchor in anchors.items()
        }

    def wrong(self, kind: str | None = None) -> float:
        """How many of the decided verdicts are wrong on average, by their probabilities."""
        return expected_wrong([row.facts for row in self.claims(kind=kind)])

    def verdicts(self, study: str | None = None, kind: str | None = None) -> dict[str, int]:
        """How many claims have which verdict, in the order of `VERDICTS`, zeros included."""
        return counts([row.facts for row in self.claims(study, kind=kind)])


def _escaped(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its texts as Markdown."""
    return {**row, **{name: markup.markdown(row[name] or "") for name in ("statement", "place", "remark")}}


def counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many rows have each verdict, in the order of `VERDICTS`, zeros included."""
    found = Counter(row["verdict"] for row in rows)
    return {verdict: found[verdict] for verdict in VERDICTS}


GROUPS = {
    "result": "results",
    "explanation": "explanations",
    "conclusion": "conclusions",
    "arithmetic": "parameter counts",
    "ours": "our questions",
    "as coded": "second readings, as coded",
}
"""What the terminal counts claims as: a second reading, or else its kind in the ledger."""


COLOURS = {
    "supported": "green",
    "reproduced": "green",
    "contradicted": "red",
    "not reproduced": "red",
    "leaning for": "yellow",
    "leaning against": "yellow",
    "inconclusive": "yellow",
    "not comparable": "bright_black",
    "not run": "bright_black",
}
WIDEST = 120
"""Characters of a line beyond which it is hard to read."""


def show(
    rows: Sequence[Mapping[str, Any]], studies: Sequence[str], verdicts: Sequence[str], long: bool = False
) -> None:
    """Print the ledger, study by study, a line per claim or (`long`) all of it; then how many have which verdict.

    Raises
    ------
    MlpaperError
        A study or verdict that is asked for does not exist.
    """
    import click

    for asked, known in ((studies, {row["study"] for row in rows}), (verdicts, set(VERDICTS))):
        if unknown := [name for name in asked if name not in known]:
            suggestion = nearest(unknown[0], known) or f"; it has {', '.join(sorted(known))}"
            raise MlpaperError(f"the ledger has no `{unknown[0]}`{suggestion}")
    width = min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else None
    of_studies = [row for row in rows if not studies or row["study"] in studies]
    shown = [Row(row) for row in of_studies if not verdicts or row["verdict"] in verdicts]
    for study, claims in itertools.groupby(shown, key=lambda row: row.facts["study"]):
        click.secho(f"{study}\n" if long else study, bold=True)
        for row in claims:
            start, text = (VERDICT_WIDTH, f"{described(row, width)}\n") if long else (1, brief(row, width))
            click.echo(click.style(text[:start], fg=COLOURS[row.facts["verdict"]], bold=True) + text[start:])
        if not long:
            click.echo()
    if verdicts:
        click.secho("of all claims", bold=True)
    for line in summed(of_studies) or ["no claims"]:
        click.echo("\n".join(_folded(line, width)))


def brief(row: Row, width: int | None) -> str:
    """A claim on one line: mark, name, verdict, probability, our number and, in brackets, the published one.

    Parameters
    ----------
    width
        Characters of a line, whose end is cut where there is no room; None for a line of any length.
    """
    published = f" ({row.published})" if row.facts["published"] is not None else ""
    columns = (
        row.facts["id"].ljust(NAME_WIDTH),
        row.facts["verdict"].ljust(VERDICT_WIDTH - 2),
        f"{row.probability:>6}",
    )
    line = f"{row.mark} {' '.join(columns)} {row.ours}{published}".replace(fmt.NO_BREAK_SPACE, " ").rstrip()
    return line if width is None or len(line) <= width else f"{line[: max(width - 1, 0)]}…"


def summed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The verdicts in words, a line per group that has claims: `results: 3 supported, 1 contradicted`; and how many of
    them are wrong on average."""
    lines = []
    for group, words in GROUPS.items():
        of_group = [row for row in rows if group == ("as coded" if row["reading"] == "as coded" else row["kind"])]
        found = [f"{number} {verdict}" for verdict, number in counts(of_group).items() if number]
        if found:
            lines.append(f"{words}: {', '.join(found)}")
    if decided := sum(row["verdict"] in DECIDED for row in rows):
        lines.append(f"wrong by chance, on average: {expected_wrong(rows):.1f} of {decided} decided verdicts")
    if any(IMAGES_ALONE in row["remark"] for row in rows):
        lines.append("of one seed, where no run of a study has more: a probability counts the test images alone")
    return lines


VERDICT_WIDTH = max(map(len, VERDICTS)) + 2
NAME_WIDTH = 28
"""Characters of most names of claims; longer ones push what follows to the right."""


def described(row: Row, width: int | None) -> str:
    """A claim in words, its verdict at the left of all else.

    Parameters
    ----------
    width
        Characters of a line, which ends between words; None for lines of any length.
    """
    paragraphs = [
        row.facts["statement"],
        f"source: {row.source}",
        f"rule: {row.rule}",
        f"published {row.published}, ours {row.ours}" + (f", probability {row.probability}" if row.probability else ""),
    ]
    paragraphs += [row.facts["remark"]] if row.facts["remark"] else []
    room = None if width is None else max(width - VERDICT_WIDTH, 1)
    lines = [line for paragraph in paragraphs for line in _folded(paragraph, room)]
    first = row.facts["verdict"].ljust(VERDICT_WIDTH)
    indented = f"\n{' ' * VERDICT_WIDTH}".join(lines)
    return f"{first}{indented}"


def _folded(text: str, width: int | None) -> list[str]:
    return textwrap.wrap(text, width or sys.maxsize, break_long_words=False, break_on_hyphens=False)
