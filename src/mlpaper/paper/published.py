"""What README.md and docs/results.md say of the published results, written from the files in docs/results alone.

A page marks where such a text belongs; all between the marks is replaced::

    <!-- results: summary -->
    <!-- end of results: summary -->
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlpaper import markup
from mlpaper.errors import MlpaperError, nearest
from mlpaper.files import read_json, write_text
from mlpaper.paper import number_format as fmt
from mlpaper.paper.claim_text import Row, counts
from mlpaper.paper.macros import Numbers
from mlpaper.study.ledger import DECIDED, expected_wrong
from mlpaper.study.left_out import by_reason
from mlpaper.study.stats import summarise

PAPER, GALLERY = Path("docs/paper.pdf"), Path("docs/gallery")
CLAIMS, RUNS = Path("docs/results/claims.csv"), Path("docs/results/runs.csv")
PROVENANCE, PYTORCH = Path("docs/results/run.json"), Path("docs/results/pytorch.yaml")
PAGES = (Path("README.md"), Path("docs/results.md"))

BEGIN = re.compile(r"^<!-- results: (\w+) -->\n", re.MULTILINE)
TEXT = re.compile(rf"({BEGIN.pattern}).*?(^<!-- end of results: \2 -->$)", re.DOTALL | re.MULTILINE)
PARTS = ("train", "validation", "test")
NUMBERS = ("probability", "value", "half_width", "published")
APART = {
    "arithmetic": "numbers of parameters",
    "ours": "our own questions",
    "as coded": "the same claims about the networks as the source's code, unlike its text, trains them",
}
"""Kinds of claims (`mlpaper.paper.claim_text.Kind`) that the table of verdicts leaves out."""


@dataclass(frozen=True)
class Published:
    """The published results."""

    claims: Sequence[Mapping[str, Any]]
    """Rows of `claims.csv`, its numbers as numbers."""
    runs: Sequence[Mapping[str, str]]
    """Rows of `runs.csv`, as they are written."""
    provenance: Mapping[str, Any]
    """`run.json`."""
    pytorch: Mapping[str, Any]
    """`pytorch.yaml`."""

    @classmethod
    def read(cls, project: Path) -> Published:
        """Read what `mlpaper publish` wrote."""
        for path in (CLAIMS, RUNS, PROVENANCE):
            if not (project / path).exists():
                raise MlpaperError(f"{project / path} is missing: mlpaper publish writes it from finished results")
        return cls(
            [_typed(row) for row in _rows(project / CLAIMS)],
            _rows(project / RUNS),
            read_json(project / PROVENANCE),
            yaml.safe_load((project / PYTORCH).read_text(encoding="utf-8")),
        )

    @cached_property
    def sources(self) -> list[Mapping[str, Any]]:
        """Claims of the sources, as written."""
        return [row for row in self.claims if Row(row).kind == "source"]

    @cached_property
    def studies(self) -> Mapping[str, Mapping[str, Any]]:
        """Studies by name, in the order of the paper."""
        return {study["name"]: study for study in self.provenance["studies"]}

    def runs_of(self, study: str) -> list[Mapping[str, str]]:
        """The runs of a study; one with two names there counts once."""
        return list({row["run_id"]: row for row in self.runs if row["study"] == study}.values())

    def seeds(self, study: str) -> str:
        """How many seeds its runs have: `3`, or `3 to 20`."""
        of_runs: dict[str, set[str]] = {}
        for row in self.runs:
            if row["study"] == study:
                of_runs.setdefault(row["run"], set()).add(row["seed"])
        numbers = sorted({len(seeds) for seeds in of_runs.values()})
        return " to ".join(map(str, dict.fromkeys([*numbers[:1], *numbers[-1:]]))) or fmt.MISSING

    def values(self, study: str, run: str, metric: str) -> list[float]:
        """A metric of a run, by seed; diverged seeds have none."""
        rows = [row for row in self.runs if (row["study"], row["run"]) == (study, run)]
        return [float(row[metric]) for row in rows if row[metric]]

    def data(self, study: str) -> str:
        """What a study is trained on: `EMNIST ByMerge (part: test)`."""
        name, _, parts = self.studies[study]["data"].partition(".")
        title = markup.markdown(self.provenance["datasets"].get(name, name), inside=True)
        return f"{title} (part: {parts})" if parts else title


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    return {**row, **{name: float(row[name]) if row[name] else None for name in NUMBERS}}


def write_pages(project: Path) -> list[Path]:
    """Write the texts of all pages again; the pages, relative to `project`."""
    published = Published.read(project)
    for page in PAGES:
        write_text(project / page, filled(published, project / page))
    return list(PAGES)


def check_pages(project: Path) -> None:
    """Check, before anything is written, that every page has a place for the results, and that its texts can be made.

    Raises
    ------
    MlpaperError
        A page has no such place, asks for a text that does not exist, or `pytorch.yaml` is missing.
    """
    if not (project / PYTORCH).exists():
        raise MlpaperError(f"{project / PYTORCH} is missing: {PAGES[1]} compares our runs with those that it lists")
    for page in (project / page for page in PAGES):
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        asked, ended = BEGIN.findall(text), [found[2] for found in TEXT.finditer(text)]
        if not asked:
            raise MlpaperError(f"{page} has no line <!-- results: {next(iter(TEXTS))} -->, where the results belong")
        if unknown := [name for name in asked if name not in TEXTS]:
            raise MlpaperError(f"{page}: there is no text `{unknown[0]}`{nearest(unknown[0], TEXTS)}")
        if open_ended := [name for name in asked if name not in ended]:
            raise MlpaperError(f"{page}: no line <!-- end of results: {open_ended[0]} --> ends the text")


def filled(published: Published, page: Path) -> str:
    """A page with its texts as they follow from what is published."""
    old = page.read_text(encoding="utf-8")
    return TEXT.sub(lambda found: f"{found[1]}{TEXTS[found[2]](published)}\n{found[3]}", old)


# --- texts


def summary(published: Published) -> str:
    """For README: what was run, and the verdicts."""
    return _paragraphs(
        _watermark(published),
        f"{_extent(published)} The table counts the claims of the sources, as written:",
        verdict_table(published, "docs/results.md"),
        f"{_wrong(published)} [The paper](docs/paper.pdf) discusses each claim.",
    )


def run(published: Published) -> str:
    """What was run: the command, the machine, the studies with their data and times; and the verdicts by study."""
    made, machine = published.provenance, published.provenance["machine"]
    packages = ", ".join(f"{name} {made['versions'][name.lower()]}" for name in ("Python", "NumPy", "Numba"))
    heading = ("study", "data", "images: training / validation / test", "runs", "seeds", "training")
    return _paragraphs(
        _watermark(published),
        "[The paper](paper.pdf) has figures and methods. The numbers behind this page: [claims](results/claims.csv) "
        "and [runs](results/runs.csv) as CSV, and [what made them](results/run.json).",
        "## What was run",
        f"```\n{made['command']}\n```",
        f"{_extent(published)} The machine has {machine['cores']} cores, {machine['memory_gib']} GiB of memory and "
        f"{machine['system']}. Versions: mlpaper {made['version']}{_commits(made['commits'])}, {packages}.",
        _table(heading, "<<<>>>", [_extent_of(published, study) for study in published.studies]),
        _left_out(made["left_out"]),
        "## Verdicts",
        "On the claims of the sources, as written:",
        verdict_table(published, ""),
        _wrong(published),
        _apart(published),
    )


def verdict_table(published: Published, page: str) -> str:
    """How many claims of the sources have which verdict, by study; studies link to their claims on a page."""
    total = {verdict: count for verdict, count in counts(published.sources).items() if count}
    rows = []
    for study in published.studies:
        found = counts([row for row in published.sources if row["study"] == study])
        shown = (found[verdict] or fmt.MISSING for verdict in total)
        rows.append((f"[`{study}`]({page}#{study})", published.seeds(study), *shown))
    rows.append(("**all**", "", *(f"**{count}**" for count in total.values())))
    return _table(("study", "seeds", *total), "<>" + ">" * len(total), rows)


def claims(published: Published) -> str:
    """Every claim, a line each, by study."""
    heading = ("claim", "verdict", "probability", "ours", "published")
    sections = [
        _paragraphs(
            f"### {study}",
            f"{markup.markdown(about['title'])}.",
            _table(heading, "<<>>>", [_claim(row) for row in published.claims if row["study"] == study]),
        )
        for study, about in published.studies.items()
    ]
    legend = "± is half a 95 % interval over seeds. The probability is that of the claim. Decided verdicts are bold."
    return _paragraphs("## Claims", legend, *sections)


def pytorch(published: Published) -> str:
    """Our runs beside independent ones in PyTorch; nothing where ours are of other data."""
    given, metric = published.pytorch, "test_accuracy"
    study = given["study"]
    if published.studies.get(study, {}).get("data") != given["data"]:
        return ""
    rows, gaps = [], []
    for name, theirs in given[metric].items():
        if ours := published.values(study, name, metric):
            mean = summarise(ours)
            gaps.append(100 * mean.mean - summarise(theirs).mean)
            each = (", ".join(f"{value:.1f}" for value in values) for values in (theirs, [100 * it for it in ours]))
            rows.append((f"`{name}`", *each, fmt.value(metric, mean), f"{gaps[-1]:+z.1f}".replace("-", "−")))
    if not rows:
        return ""
    heading = ("run", "PyTorch, by seed", "ours, by seed", "our mean, 95 % interval", "difference of means")
    return _paragraphs(
        "## Compared with PyTorch",
        f"{given['origin']}. Test accuracies after the last epoch, in per cent, of networks as the source's text "
        "describes them, or as its code trains them (`as-coded`):",
        _table(heading, "<>>>>", rows),
        f"The means differ by {min(map(abs, gaps)):.1f} to {max(map(abs, gaps)):.1f} points. Splits, initial weights "
        "and the order of the images come from other random numbers, so runs of the same seed are no pairs.",
    )


TEXTS: Mapping[str, Callable[[Published], str]] = {"summary": summary, "run": run, "claims": claims, "pytorch": pytorch}
"""The texts that a page may ask for."""


# --- parts of texts


def _extent(published: Published) -> str:
    made, number = published.provenance, len(published.studies)
    data = Numbers.listing(dict.fromkeys(map(published.data, published.studies)))
    trained = made["trained_on"]
    places = [it["name"] if len(trained) == 1 else f"{it['name']} ({it['runs']:,} runs)" for it in trained]
    each = "" if any(it["gpu"] for it in trained) else ", one core each"
    return (
        f"The {made['runs']:,} runs of {number} {'studies' if number > 1 else 'study'}, on {data}, took "
        f"{fmt.duration(made['seconds'])} of training on {markup.markdown(Numbers.listing(places), inside=True)}{each}."
    )


def _extent_of(published: Published, study: str) -> tuple[object, ...]:
    runs, images = published.runs_of(study), published.studies[study]["images"]
    parts = [fmt.MISSING if images[part] is None else f"{images[part]:,}" for part in PARTS]
    seconds = fmt.duration(sum(float(row["seconds"]) for row in runs))
    link, data = f"[`{study}`](#{study})", published.data(study)
    return link, data, " / ".join(parts), len(runs), published.seeds(study), seconds


def _commits(commits: Sequence[Mapping[str, Any]]) -> str:
    if not commits:
        return ""
    ends = dict.fromkeys(f"`{it['commit'][:7]}`" for it in (commits[0], commits[-1]))
    changed = " with uncommitted changes" if any(it["dirty"] for it in commits) else ""
    return f" at commit {' to '.join(ends)}{changed}"


def _wrong(published: Published) -> str:
    decided = sum(row["verdict"] in DECIDED for row in published.sources)
    if not decided:
        return "None of these claims is decided."
    wrong = expected_wrong(published.sources)
    number = f"{wrong:.1f}" if wrong >= 0.05 else "fewer than 0.1"
    return (
        f"{decided} of these claims are decided. By their probabilities, {number} of them are wrong on average; "
        "of simulated verdicts, 1 to 5 % were."
    )


def _apart(published: Published) -> str:
    """The verdicts on what is no claim of a source as written."""
    lines = []
    for kind, words in APART.items():
        found = counts([row for row in published.claims if Row(row).kind == kind])
        if any(found.values()):
            lines.append(f"- {words}: {', '.join(f'{count} {verdict}' for verdict, count in found.items() if count)}")
    return "\n".join(["Counted apart:\n", *lines]) if lines else ""


def _left_out(runs: Mapping[str, str]) -> str:
    reasons = by_reason((f"`{run}`", markup.markdown(because.rstrip("."))) for run, because in runs.items())
    return "\n".join(f"- Not run: {names}. {because[0].upper()}{because[1:]}." for because, names in reasons.items())


def _watermark(published: Published) -> str:
    mark = published.provenance["watermark"]
    return f"**{markup.markdown(mark)}**" if mark else ""


def _claim(row: Mapping[str, Any]) -> tuple[str, ...]:
    kind, verdict = Row(row).kind, _unbroken(row["verdict"])
    said = _prose(row["statement"]) + (" *(our question)*" if kind == "ours" else "")
    return (
        "*the same, as coded*" if kind == "as coded" else said,
        f"**{verdict}**" if row["verdict"] in DECIDED else verdict,
        _unbroken(Row(row).probability) or fmt.MISSING,
        *(_prose(row[name]) or fmt.MISSING for name in ("ours_text", "published_text")),
    )


def _prose(text: str) -> str:
    """Plain text as Markdown; no line breaks before its per cents."""
    return markup.markdown(text, inside=True).replace(" %", f"{fmt.NO_BREAK_SPACE}%")


def _unbroken(text: str) -> str:
    return text.replace(" ", fmt.NO_BREAK_SPACE)


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def _table(heading: Sequence[str], alignment: str, rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; `<` and `>` say to which side each column is aligned."""
    rule = ["---" if side == "<" else "--:" for side in alignment]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heading, rule, *rows))
