"""No sentence of the paper is false for any outcome: the prose under several hundred made-up ledgers.

The worlds differ in their numbers, seeds, runs that diverged or were left out, datasets and scale. In each, claims are
given outcomes: all combinations of those that a conclusion branches on, and a sample for the others.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pytest
from fake_document import STUDIES, document
from jinja2 import nodes

from mlpaper.paper.claim_text import OUTCOMES, Outcome, Row
from mlpaper.paper.floats import Item, Items
from mlpaper.paper.render import Paper

REPORT = Path(__file__).parents[2] / "report"
EXTRAS = ("batch-norm-sigmoid", "dropout-mnist", "glorot-initialisation")
BECOMING: tuple[Outcome, ...] = ("held", "failed", "open", "not run")
DATASETS = re.compile(r"\b(?:Fashion-MNIST|EMNIST(?: ByMerge)?|(?<!-)MNIST|scikit-learn's handwritten digits)\b")
OF_THE_SOURCE = re.compile(r"\bsource|\btitle|\[@")
"""A sentence that says what a source did may name its dataset, whatever was used here."""

EXCLUSIVE = [
    ("cannot be told apart from zero", "There are no intervals"),
    ("made with a single seed", "Few seeds make wide intervals"),
    ("With a single seed, no difference", "An interval over few seeds is wide"),
    ("He initialisation does not repair the plain network", "needs the initialisation as a condition"),
    ("Depth alone does not make the plain network fail", "does not change the conclusion of the source"),
    ("He initialisation does not repair", "Depth alone does not make the plain network fail"),
    ("are not ahead of the full batch by the margin", "does not explain the whole difference"),
    ("so that this copy does not test the explanation", "The sum of the rates alone does not determine"),
    ("These networks were not trained for this copy", "The network width-4192 has"),
    ("The classes differ in size", "The classes are nearly equal in size"),
    ("We withhold that many images", "Here none are withheld"),
    ("is to blame", "does not relieve"),
]
"""Sentences of which a paper may hold one at most."""

WORLDS: dict[str, dict[str, Any]] = {
    "three seeds": {"random": 11},
    "one seed": {"random": 12, "seeds": 1},
    "diverged": {
        "random": 13,
        "diverged": ["M0", "M1b", "rate-5e-2", "plain-30", "plain-30-he", "depth-15", "batch-full", "momentum"],
        "partly": ["M1g", "M3b", "residual-30", "depth-he-15", "batch-256", "width-512", "baseline", "schedule-fixed"],
    },
    "left out": {
        "random": 14,
        "left_out": ["M2", "M3b-pytorch", "baseline-pytorch", "best", "width-4192", "depth-15", "plain-30-he", "M0"],
    },
    "digits": {"random": 15, "seeds": 1, "scale": "demo"},
}


CLUMSY = re.compile(
    r"\{\{|\{%|(?:[a-z]{2}|\d)\.[A-Z][a-z]|\( *\)| [,;]|(?<!\.)\.\.(?!\.)| \.(?!\w)|: *[.;,](?!\w)"
    r"|(?<!\w)(?:is|are|of|at|with|has|after|for|by|and|epoch) (?:diverged|not run \(|not measured)"
)
"""What is left of a sentence whose parts are missing."""


class Conclusion(NamedTuple):
    """A sentence that a template prints where a claim came out in one way."""

    claim: str
    became: str
    sentence: str


class Unplaced(Items):
    """Figures and tables that need no files."""

    def _place(self, name: str, kind: Any, **how: Any) -> str:
        self.placed[f"{kind}-{name}"] = Item(name, kind, 1, {}, self.results)
        return f"[{kind} {name}]" + "".join(f"\n| {link}" for link in how.get("rows_named", {}).values())


def conclusions() -> Iterator[Conclusion]:
    """Every `call when(...)` of the templates."""
    for path in sorted((REPORT / "sections").glob("*.j2")):
        tree = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).parse(path.read_text(encoding="utf-8"))
        named = {
            assign.target.name: assign.node.value
            for assign in tree.find_all(nodes.Assign)
            if isinstance(assign.target, nodes.Name) and isinstance(assign.node, nodes.Const)
        }
        for block in tree.find_all(nodes.CallBlock):
            became, study, claim = block.call.args
            assert isinstance(block.call.node, nodes.Name)
            assert block.call.node.name == "when"
            assert became.value in BECOMING
            text = "".join(data.data for data in block.find_all(nodes.TemplateData)).strip()
            yield Conclusion(f"{named[study.name]}.{claim.value}", became.value, text)


CONCLUSIONS = list(conclusions())
SAMPLE = 256
BRANCHING = sorted({conclusion.claim for conclusion in CONCLUSIONS})


def forced(row: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """A row of the ledger that came out so."""
    of_a_value = row["rule"] == "value"
    verdict = next(
        word for word, became in OUTCOMES.items() if became == outcome and (of_a_value == ("reproduced" in word))
    ) if outcome in ("held", "failed") else {"open": "inconclusive", "not run": "not run"}[outcome]  # fmt: skip
    changes: dict[str, Any] = {"verdict": verdict}
    if outcome == "not run":
        changes |= {
            "value": None,
            "half_width": None,
            "seeds": 0,
            "means": json.dumps({}),
            "remark": "a run: too heavy",
        }
    return {**row, **changes}


def combinations() -> list[tuple[Outcome, ...]]:
    """Outcomes of the claims that conclusions branch on: all, or a sample in which every pair of outcomes occurs."""
    every = itertools.product(BECOMING, repeat=len(BRANCHING))
    if len(BECOMING) ** len(BRANCHING) <= SAMPLE:
        return list(every)
    sample = random.Random(0).sample(list(every), SAMPLE)
    for columns in itertools.combinations(range(len(BRANCHING)), 2):
        assert len({tuple(outcomes[column] for column in columns) for outcomes in sample}) == len(BECOMING) ** 2
    return sample


def ledgers() -> Iterator[dict[str, Any]]:
    """Documents with their own ledgers first, then with ledgers made up."""
    bases = [document(STUDIES, **world) for world in WORLDS.values()]
    yield from bases
    for number, combination in enumerate(combinations()):
        base, chosen = bases[number % len(bases)], random.Random(number)
        wanted = dict(zip(BRANCHING, combination, strict=True))
        claims = [
            row
            if row["verdict"] == "not run"
            else forced(row, wanted.get(f"{row['study']}.{row['id']}") or chosen.choice(BECOMING))
            for row in base["claims"]
        ]
        yield base | {"claims": claims}


def filled(facts: dict[str, Any]) -> str:
    """The paper's Markdown, without its figures and tables."""
    PAPER.__dict__["facts"] = facts
    return PAPER._fill(Unplaced(REPORT, facts["study"], facts["figures"], str, str))


PAPER = Paper(REPORT, REPORT, "md")
"""One for all, so that templates are compiled once."""


def faults(facts: Mapping[str, Any], text: str) -> list[str]:
    """What is wrong with a paper."""
    return [
        *_words(text),
        *_contradictions(text),
        *_conclusions(facts, text),
        *_claims(facts, text),
        *_datasets(facts, text),
    ]


def _words(text: str) -> Iterator[str]:
    prose = re.sub(
        r"(?s)^---.*?^---$|^```.*?^```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|^\|.*?$", "X", text, flags=re.MULTILINE
    )
    words = Counter(re.findall(r"[A-Za-z]+", prose))
    for word in {"None", "inf", "Undefined", "Row", "True", "False"} & words.keys():
        yield f"prints `{word}`"
    if words["nan"] != 3:
        yield "prints `nan` elsewhere than for the naive softmax"
    for found in CLUMSY.finditer(prose):
        yield f"is badly put together: {prose[found.start() - 30 : found.end() + 20]!r}"


def _contradictions(text: str) -> Iterator[str]:
    for pair in EXCLUSIVE:
        if all(sentence in text for sentence in pair):
            yield f"contradicts itself: {pair}"


def _conclusions(facts: Mapping[str, Any], text: str) -> Iterator[str]:
    became = {f"{row['study']}.{row['id']}": OUTCOMES[row["verdict"]] for row in facts["claims"]}
    for conclusion in CONCLUSIONS:
        if conclusion.sentence in text and became[conclusion.claim] != conclusion.became:
            yield f"concludes that {conclusion.claim} {conclusion.became}, and it is {became[conclusion.claim]}"


def _claims(facts: Mapping[str, Any], text: str) -> Iterator[str]:
    """Each claim is told once: in the main part with its verdict, or in the table of its study's appendix."""
    rows = [Row(facts) for facts in facts["claims"]]
    main, _, appendices = text.partition("\n# Appendix A. ")
    printed: dict[str, list[str]] = {}
    for anchor, finding in re.findall(r"\]\{#(claim-[^}]+)\}(.*?)(?=\]\{#|\n)", main):
        printed.setdefault(anchor, []).extend(re.findall(r"\*\*([a-z ]+)\*\*", finding))
    anchors = Counter(re.findall(r"\]\{#(claim-[^}]+)\}", text))
    linked = set(re.findall(r"^\| \[[^\]]+\]\(#(claim-[^)]+)\)", appendices, re.MULTILINE))
    for row in rows:
        verdict, told = row.facts["verdict"], printed.get(row.anchor)
        if anchors[row.anchor] != 1:
            yield f"{row.anchor} is told in {anchors[row.anchor]} places"
        if told not in (None, [verdict]) or (told is not None) != (row.anchor in linked):
            yield f"{row.anchor}: {verdict}, printed as {told}"
    abstract = text.split("link-citations")[0]
    for outcome, heading in (("held", "examples of what held"), ("failed", "examples of what did not hold")):
        shown = abstract.partition(heading)[2].partition("These are examples")[0]
        lines = re.findall(r"^ *- .*\*Here:\* (.*)\.$", shown, re.MULTILINE)
        right = tuple(row.here for row in rows if row.outcome == outcome) if lines else ()
        for line in lines:
            if not line.startswith(right):
                yield f"the abstract has {line!r} among what {outcome}"


def _datasets(facts: Mapping[str, Any], text: str) -> Iterator[str]:
    """Names of datasets are those of the data that were used, or stand in a sentence about a source."""
    for study, about in facts["study"].items():
        section = text.partition(f"\n# {about['title']}\n")[2].partition("\n# ")[0]
        used = {
            PAPER_NAMES[spec["dataset"]["name"]]
            for run, spec in facts["settings"].items()
            if run.startswith(f"{study}.")
        }
        section = re.sub(r"\*Claim.*?\*Here", "", section)
        for sentence in re.split(r"(?<=[.:])\s|\n\n", section):
            names = set(DATASETS.findall(sentence)) - used
            if names and not OF_THE_SOURCE.search(sentence):
                yield f"{study} names {names} in {sentence!r}, and uses {used}"


PAPER_NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "emnist_bymerge": "EMNIST ByMerge",
    "digits": "scikit-learn's handwritten digits",
}


def test_no_sentence_is_false_for_any_ledger() -> None:
    """The paper is rendered once for each ledger, which is where its ten seconds go."""
    wrong: dict[str, int] = {}
    number = 0
    for number, facts in enumerate(ledgers(), 1):  # noqa: B007
        for fault in faults(facts, filled(facts)):
            wrong[fault] = wrong.get(fault, 0) + 1
    assert not wrong, "\n".join(f"{count} times: {fault}" for fault, count in wrong.items())
    assert number >= 200


def test_every_conclusion_is_printed_for_some_ledger_and_for_its_outcome_alone() -> None:
    facts = document(STUDIES, **WORLDS["three seeds"])
    for became in BECOMING:
        claims = [forced(row, became) for row in facts["claims"]]
        text = filled(facts | {"claims": claims})
        printed = {conclusion for conclusion in CONCLUSIONS if conclusion.sentence in text}
        assert {conclusion.became for conclusion in printed} <= {became}
        assert printed == {conclusion for conclusion in CONCLUSIONS if conclusion.became == became}


def test_no_section_branches_on_results_itself() -> None:
    """`when` alone does: what it prints is checked against the ledger."""
    for path in sorted(REPORT.rglob("*.md.j2")):
        tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
        conditions = [node.test for node in tree.find_all((nodes.If, nodes.CondExpr)) if path.stem != "clauses.md"]
        calls = [call.node for call in nodes.List(conditions).find_all(nodes.Call)]
        asked = {call.name for call in calls if isinstance(call, nodes.Name)}
        assert not asked & {"claim", "each", "finding", "num", "outcome", "relation", "value"}, path


@pytest.mark.parametrize("world", WORLDS)
def test_the_extra_studies_read_well_by_themselves(world: str) -> None:
    """Title, abstract and methods are those of what is there: no second readings, no activation that nobody uses."""
    facts = document(EXTRAS, **WORLDS[world])
    text = filled(facts)
    assert faults(facts, text) == []
    assert "We repeat three published studies" in text
    assert "Two conventions hold throughout. A value written" in text
    assert not re.search("as-coded|as coded|authors' (own )?code (differ|disagree)|GELU|Sum or mean of gradients", text)
    assert "the logistic function $1 / (1 + e^{-z})$; or the hyperbolic tangent $\\tanh z$." in text
    decided = any(row["verdict"] in ("supported", "contradicted") for row in facts["claims"])
    assert ("These are examples of what" in text) == decided


def test_one_study_reads_well_by_itself() -> None:
    facts = document(EXTRAS[:1], **WORLDS["three seeds"])
    text = filled(facts)
    assert faults(facts, text) == []
    assert "We repeat one published study of" in text
    assert "This paper takes a published study of" in text
    assert "hyperbolic tangent" not in text


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        ("It is None here.", "prints `None`"),
        ("One is ( ) away.", "badly put together"),
        ("The plain network is to blame. That does not relieve it.", "contradicts itself"),
        ("He initialisation does not repair the plain network of thirty layers.", "concludes that residual-depth"),
        ("Full batches do badly on Fashion-MNIST.", "names {'Fashion-MNIST'}"),
    ],
)
def test_a_false_sentence_is_found(spoilt: str, fault: str) -> None:
    facts = document(STUDIES, **WORLDS["three seeds"])
    facts["claims"] = [forced(row, "failed") for row in facts["claims"]]
    text = filled(facts)
    assert faults(facts, text) == []
    text = text.replace("## Depth or initialisation?\n", f"## Depth or initialisation?\n\n{spoilt}\n")
    assert any(fault in found for found in faults(facts, text))
