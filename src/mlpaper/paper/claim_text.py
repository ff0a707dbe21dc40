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
from mlpaper.study import metrics
from mlpaper.study.ledger import AS_CODED, VERDICTS
from mlpaper.study.schema import rules
from mlpaper.study.stats import Summary

_CLAIM: TypeAdapter[rules.ClaimSpec] = TypeAdapter(rules.ClaimSpec)
LISTED = 4
"""Runs that are named one by one; of more, only the first and the last."""

Outcome = Literal["held", "failed", "open", "not run"]
"""Outcome of a claim, whatever its rule: the word that the prose branches on."""
OUTCOMES: Mapping[str, Outcome] = {
    "supported": "held",
    "reproduced": "held",
    "contradicted": "failed",
    "not reproduced": "failed",
    "inconclusive": "open",
    "not run": "not run",
}

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
        return _ASKED[self.facts["rule"]](self, self.claim)

    @property
    def published(self) -> str:
        """The published number with its unit, or an en dash."""
        value = self.facts["published"]
        if value is None:
            return fmt.MISSING
        if self.facts["rule"] == "speed":
            return f"{value:g} times"
        return self._signed(Summary(value, None, 1)) if self.is_difference else self._quantity(value)

    @property
    def is_difference(self) -> bool:
        """Whether its numbers are differences of two runs."""
        return self.facts["rule"] in ("difference", "contrast") or getattr(self.claim, "minus", None) is not None

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
        return _FOUND[self.facts["rule"]](self) if self.facts["verdict"] != "not run" else fmt.MISSING

    @property
    def here(self) -> str:
        """What was measured, with the metric and the runs: `validation accuracy, M1b − M1a: +6.1 points`."""
        return _HERE.get(self.facts["rule"], _here)(self)

    @property
    def outcome(self) -> Outcome:
        """Its verdict, whatever its rule."""
        return OUTCOMES[self.facts["verdict"]]

    @property
    def kind(self) -> Kind:
        """How it is counted: a second reading of any kind is only that."""
        if self.facts["reading"] == "as coded":
            return "as coded"
        kinds: dict[str, Kind] = {"arithmetic": "arithmetic", "ours": "ours"}
        return kinds.get(self.facts["kind"], "source")

    @property
    def anchor(self) -> str:
        """Identifier in the document."""
        return f"claim-{self.facts['study']}-{self.facts['id']}"

    @property
    def summary(self) -> Summary | None:
        """Our number with its interval."""
        value = self.facts["value"]
        return None if value is None else Summary(value, self.facts["half_width"], self.facts["seeds"])

    def _signed(self, summary: Summary | None) -> str:
        suffix = fmt.difference_unit(self.facts["metric"])
        text = fmt.difference(self.facts["metric"], summary)
        return f"{text} {suffix}" if suffix and summary is not None else text

    def _quantity(self, value: float | None) -> str:
        return fmt.quantity(self.facts["metric"], value)

    def _distance(self, value: float) -> str:
        """A margin or tolerance, without sign."""
        suffix = fmt.difference_unit(self.facts["metric"])
        return f"{fmt.number(self.facts['metric'], value)} {suffix}".strip()


def _runs(runs: Sequence[str]) -> str:
    return ", ".join(runs) if len(runs) <= LISTED else f"{runs[0]} to {runs[-1]} ({len(runs)} runs)"


def _asked_difference(row: Row, claim: rules.DifferenceClaim) -> str:
    bound = row._distance(claim.margin) if claim.margin else "0"
    minus = f"−{bound}" if claim.margin else bound
    asked = {
        "above": f"above {bound}",
        "below": f"below {minus}",
        "equal": f"within ±{bound}",
        "not above": f"below {bound}",
        "not below": f"above {minus}",
    }[claim.direction]
    most = f" and below {row._distance(claim.most)}" if claim.most is not None else ""
    return f"{row.metric}: {claim.first} − {claim.second} {asked}{most}"


def _asked_contrast(row: Row, claim: rules.ContrastClaim) -> str:
    larger, smaller = (" − ".join(pair) for pair in (claim.larger, claim.smaller))
    return f"{row.metric}: {larger} above {smaller}"


def _asked_beyond_seeds(row: Row, claim: rules.BeyondSeedsClaim) -> str:
    return f"{row.metric}: {claim.first} and {claim.second} differ more with equal seeds than each between two seeds"


def _asked_range(row: Row, claim: rules.RangeClaim) -> str:
    low, high = (None if bound is None else row._quantity(bound) for bound in (claim.low, claim.high))
    bounds = f"between {low} and {high}" if low and high else f"at least {low}" if low else f"at most {high}"
    return f"{row.metric} of {_runs(claim.runs)} {bounds}"


def _asked_best(row: Row, claim: rules.BestClaim) -> str:
    near = f", or within {row._distance(claim.tolerance)} of the best" if claim.tolerance else ""
    return f"{row.metric}: {' or '.join(claim.best)} best of {_runs(claim.runs)}{near}"


def _asked_order(row: Row, claim: rules.OrderClaim) -> str:
    return f"{row.metric}, best first: {', '.join(claim.runs)}"


def _asked_plateau(row: Row, claim: rules.PlateauClaim) -> str:
    first, *others = claim.runs
    return f"{row.metric} of {_runs(others)} better than that of {first} by at most {row._distance(claim.tolerance)}"


def _asked_spread(row: Row, claim: rules.SpreadClaim) -> str:
    return f"{row.metric}: {_runs(claim.wide)} further apart than {_runs(claim.narrow)}"


def _valued(claim: rules.ValueClaim) -> str:
    return f"{claim.run} − {claim.minus}" if claim.minus else claim.run


def _asked_value(row: Row, claim: rules.ValueClaim) -> str:
    compared = f"{row.metric}{':' if claim.minus else ' of'} {_valued(claim)}"
    if not metrics.get(claim.metric).unit and claim.tolerance < 0.5:
        return f"{compared} equal to the published"
    return f"{compared} within {row._distance(claim.tolerance)} of the published"


def _asked_unstable(row: Row, claim: rules.UnstableClaim) -> str:
    return (
        f"{claim.run} diverges or ends near guessing, or its {row.metric} is more than {claim.factor:g} times that of "
        f"{claim.beside}"
    )


def _asked_speed(row: Row, claim: rules.SpeedClaim) -> str:
    target = f"the final {row.metric} of {claim.slow}"
    if claim.target is not None:
        target = f"a {row.metric} of {row._quantity(claim.target)}"
    return f"epochs to {target}: {claim.slow} takes more than {claim.least:g} times those of {claim.fast}"


def _asked_turning(row: Row, claim: rules.TurningClaim) -> str:
    between = f"between epochs {claim.earliest} and {claim.latest}"
    return f"validation loss of {claim.run} lowest {between}, then rising by more than {claim.rise:g} nats"


_ASKED: dict[str, Callable[[Row, Any], str]] = {
    "difference": _asked_difference,
    "contrast": _asked_contrast,
    "beyond-seeds": _asked_beyond_seeds,
    "value": _asked_value,
    "range": _asked_range,
    "best": _asked_best,
    "order": _asked_order,
    "plateau": _asked_plateau,
    "spread": _asked_spread,
    "unstable": _asked_unstable,
    "speed": _asked_speed,
    "turning": _asked_turning,
}


def _known(row: Row, runs: Sequence[str] | None = None) -> list[float]:
    means = row.means if runs is None else {run: row.means[run] for run in runs}
    return [mean for mean in means.values() if mean is not None]


def _bounds(row: Row) -> str:
    known = _known(row)
    if not known:
        return fmt.MISSING
    if len(known) == 1:
        return row._quantity(known[0])
    return f"{fmt.number(row.facts['metric'], min(known))} to {row._quantity(max(known))}"


def _found_best(row: Row) -> str:
    lower = metrics.get(row.facts["metric"]).lower_is_better
    known = {run: mean for run, mean in row.means.items() if mean is not None}
    if not known:
        return fmt.MISSING
    best = (min if lower else max)(known, key=lambda run: known[run])
    return f"{best}: {row._quantity(known[best])}"


def _found_order(row: Row) -> str:
    return ", ".join(fmt.number(row.facts["metric"], mean) for mean in row.means.values())


def _found_spread(row: Row) -> str:
    claim = row.claim
    assert isinstance(claim, rules.SpreadClaim)
    wide, narrow = _known(row, claim.wide), _known(row, claim.narrow)
    if not wide or not narrow:
        return fmt.MISSING
    apart = [fmt.number(row.facts["metric"], max(values) - min(values)) for values in (wide, narrow)]
    return f"{apart[0]} against {row._distance(max(narrow) - min(narrow))}"


def _found_speed(row: Row) -> str:
    found = row.summary
    if found is None:
        return fmt.MISSING
    return f"{found.mean:.2f} times" if found.half_width is None else f"{found.mean:.2f} ± {found.half_width:.2f} times"


def _found_turning(row: Row) -> str:
    return fmt.MISSING if row.summary is None else f"epoch {fmt.value('best_epoch', row.summary)}"


def _found_beyond_seeds(row: Row) -> str:
    more = row.summary
    if more is None:
        return fmt.MISSING
    return f"{row._distance(abs(more.mean))} {'more' if more.mean > 0 else 'less'} than between seeds"


def _found_unstable(row: Row) -> str:
    own, other = (fmt.number(row.facts["metric"], row.means.get(run)) for run in row.claim.named_runs)
    return fmt.MISSING if fmt.MISSING in (own, other) else f"{own} against {other} points"


def _found_value(row: Row) -> str:
    if row.summary is None:
        return fmt.MISSING
    if row.is_difference:
        return row._signed(row.summary)
    unit = fmt.unit(row.facts["metric"])
    return f"{fmt.value(row.facts['metric'], row.summary)} {unit}".strip()


_FOUND: dict[str, Callable[[Row], str]] = {
    "difference": lambda row: row._signed(row.summary),
    "contrast": lambda row: row._signed(row.summary),
    "beyond-seeds": _found_beyond_seeds,
    "value": _found_value,
    "range": _bounds,
    "best": _found_best,
    "order": _found_order,
    "plateau": _bounds,
    "spread": _found_spread,
    "unstable": _found_unstable,
    "speed": _found_speed,
    "turning": _found_turning,
}


_SUBJECTS: dict[str, Callable[[Any], str]] = {
    "difference": lambda claim: f"{claim.first} − {claim.second}",
    "contrast": lambda claim: " − ".join(f"({a} − {b})" for a, b in (claim.larger, claim.smaller)),
    "beyond-seeds": lambda claim: f"{claim.first} and {claim.second} with equal seeds",
    "value": _valued,
    "unstable": lambda claim: f"{claim.run} against {claim.beside}",
}
"""What a metric is measured of, where it is more than the runs that the claim names."""


def _here(row: Row) -> str:
    subject = _SUBJECTS.get(row.facts["rule"], lambda claim: _runs(claim.named_runs))
    return f"{row.metric}, {subject(row.claim)}: {row.ours}"


def _here_order(row: Row) -> str:
    named = (f"{run} {row._quantity(mean)}" for run, mean in row.means.items())
    return f"{row.metric}: {', '.join(named)}"


def _here_spread(row: Row) -> str:
    claim = row.claim
    assert isinstance(claim, rules.SpreadClaim)
    return f"largest minus smallest {row.metric}, {_runs(claim.wide)} against {_runs(claim.narrow)}: {row.ours}"


def _here_speed(row: Row) -> str:
    claim = row.claim
    assert isinstance(claim, rules.SpeedClaim)
    target = f"its final {row.metric}" if claim.target is None else f"a {row.metric} of {row._quantity(claim.target)}"
    return f"epochs of {claim.slow} to {target}, over those of {claim.fast}: {row.ours}"


def _here_turning(row: Row) -> str:
    return f"lowest validation loss of {_runs(row.claim.named_runs)}: {row.ours}"


_HERE: dict[str, Callable[[Row], str]] = {
    "best": lambda row: f"best {row.metric} of {_runs(row.claim.named_runs)}: {row.ours.replace(': ', ', ')}",
    "order": _here_order,
    "spread": _here_spread,
    "speed": _here_speed,
    "turning": _here_turning,
}
"""Rules whose finding is more than a metric of something."""


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
        names = "claim claims as_coded examples outcome finding untold verdicts"
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
        """The verdict on a claim, in bold."""
        word = self.claim(study, name).facts["verdict"]
        return f"[{word}]{{.verdict .{word.replace(' ', '-')}}}" if self.target == "html" else f"**{word}**"

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
        return f"{ours}{self.verdict(study, name)}" + (f" ({remark})" if remark else "")

    def _marked(self, row: Row) -> str:
        """What was measured; in HTML, a single number says which runs it comes from."""
        here, ours = row.here, row.ours
        if self.target != "html" or row.facts["value"] is None or not here.endswith(ours):
            return here
        key = f"{row.facts['study']}.{row.facts['id']}"
        span = f'[{ours}]{{.num title="{key}" key="{key}" runs="{" ".join(row.facts["runs"])}"}}'
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
    "inconclusive": "yellow",
    "not run": "bright_black",
}
WIDEST = 120
"""Characters of a line beyond which it is hard to read."""


def show(rows: Sequence[Mapping[str, Any]], studies: Sequence[str], verdicts: Sequence[str]) -> None:
    """Print the ledger, study by study, and how many claims have which verdict.

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
        click.secho(f"{study}\n", bold=True)
        for row in claims:
            verdict = row.facts["verdict"]
            text = click.style(verdict.ljust(VERDICT_WIDTH), fg=COLOURS[verdict], bold=True)
            click.echo(text + described(row, width)[VERDICT_WIDTH:] + "\n")
    for line in summed(of_studies) or ["no claims"]:
        click.echo("\n".join(_folded(line, width)))


def summed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The verdicts in words, a line per group that has claims: `results: 3 supported, 1 contradicted`."""
    lines = []
    for group, words in GROUPS.items():
        of_group = [row for row in rows if group == ("as coded" if row["reading"] == "as coded" else row["kind"])]
        found = [f"{number} {verdict}" for verdict, number in counts(of_group).items() if number]
        if found:
            lines.append(f"{words}: {', '.join(found)}")
    return lines


VERDICT_WIDTH = max(map(len, VERDICTS)) + 2


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
        f"published {row.published}, ours {row.ours}",
    ]
    paragraphs += [row.facts["remark"]] if row.facts["remark"] else []
    room = None if width is None else max(width - VERDICT_WIDTH, 1)
    lines = [line for paragraph in paragraphs for line in _folded(paragraph, room)]
    first = row.facts["verdict"].ljust(VERDICT_WIDTH)
    indented = f"\n{' ' * VERDICT_WIDTH}".join(lines)
    return f"{first}{indented}"


def _folded(text: str, width: int | None) -> list[str]:
    return textwrap.wrap(text, width or sys.maxsize, break_long_words=False, break_on_hyphens=False)
