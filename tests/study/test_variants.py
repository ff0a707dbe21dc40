"""What a study file need not repeat: variants of runs, and the tables that every study has."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mlpaper.errors import ConfigurationError
from mlpaper.study.plan import Plan, load_plan

NAME = "tiny"
STUDY = {
    "name": NAME,
    "title": "Tiny",
    "source": {"citation": "tobio2025", "authors": "Nobody", "title": "Nothing"},
    "summary": "A few runs.",
    "defaults": {"dataset": {"name": "mnist"}, "epochs": 10, "network": {"hidden": [8]}},
    "runs": {
        "A": {"description": "The first", "noise": True, "heavy": "too slow"},
        "B": {"description": "The second", "based_on": "A", "changes": {"optimizer": {"name": "sgd", "momentum": 0.5}}},
    },
    "sweeps": {"rate": {"description": "{}", "label": "r", "vary": "epochs", "points": {"1": 1, "2": 2}}},
    "published": {"A.test_accuracy": 0.5},
}


@pytest.fixture
def planned(workflow: Path) -> Callable[..., Plan]:
    """The plan of the study above with changes."""

    def plan(**changes: object) -> Plan:
        path = workflow / "studies" / f"{NAME}.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
        return load_plan({"studies": [NAME], "twin": "always", "seeds": [0]}, workflow)

    return plan


def test_a_variant_is_its_run_with_changes(planned: Callable[..., Plan]) -> None:
    variants = {
        "long": {"runs": ["A", "rate-*"], "reproduces": True, "changes": {"epochs": 30}},
        "slow": {
            "description": "{run} ({}), slower",
            "changes": {"optimizer": {"learning_rate": 0.01}},
            "runs": {
                "*": None,
                "A": {"description": "A at a low rate", "noise": False},
                "B": {"changes": {"epochs": 5}},
            },
        },
    }
    plan = planned(variants=variants)
    study, runs = plan.studies[NAME], {run: specs[0] for run, specs in plan.specs[NAME].items()}
    assert list(runs)[:7] == ["A", "B", "rate-1", "rate-2", "A-long", "rate-1-long", "rate-2-long"]
    assert list(runs)[7:] == [f"{run}-slow" for run in list(runs)[:7]], "a pattern is all runs before the variant"
    assert runs["A-long"] == runs["A"].model_copy(update={"epochs": 30})
    assert (runs["B-slow"].optimizer.momentum, runs["B-slow"].optimizer.learning_rate) == (0.5, 0.01)
    assert [runs[f"{run}-slow"].epochs for run in ("A", "B", "rate-2", "A-long")] == [10, 5, 2, 30]
    long, slow = study.runs["A-long"], study.runs["A-slow"]
    assert (long.description, long.noise, long.heavy, long.reproduces) == ("The first, long", True, "too slow", "A")
    assert (slow.description, slow.noise, slow.heavy, slow.reproduces) == ("A at a low rate", False, "too slow", None)
    assert study.runs["B-slow"].description == "B (The second), slower"


def test_a_variant_may_start_from_another(planned: Callable[..., Plan]) -> None:
    variants = {
        "long": {"runs": {"A": {"changes": {"epochs": 30}}}},
        "long-wide": {"based_on": "long", "reproduces": True, "runs": ["A"], "changes": {"network": {"hidden": [16]}}},
    }
    plan = planned(variants=variants)
    (made,) = plan.specs[NAME]["A-long-wide"]
    assert (made.epochs, made.network.hidden) == (30, (16,))
    assert plan.studies[NAME].runs["A-long-wide"].reproduces == "A"


def test_the_order_of_the_file_is_that_of_the_runs(planned: Callable[..., Plan], workflow: Path) -> None:
    planned(variants={"long": {"runs": ["A"], "changes": {"epochs": 30}}})
    path = workflow / "studies" / f"{NAME}.yaml"
    values = yaml.safe_load(path.read_text())
    turned = {key: values.pop(key) for key in ("variants", "sweeps")} | values
    path.write_text(yaml.safe_dump(turned, sort_keys=False))
    names = load_plan({"studies": [NAME], "twin": "always"}, workflow).names[NAME]
    assert list(names) == ["A-long", "rate-1", "rate-2", "A", "B"]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"runs": ["a"]}, r":\d+: `variants\.v\.runs\.a`: no run before this variant is like `a`"),
        ({"runs": ["rat-1"]}, r"`variants\.v\.runs\.rat-1`: .*did you mean `rate-1`"),
        ({"runs": []}, r":\d+: `variants\.v\.runs`: .*at least 1"),
        ({"runs": "A"}, r":\d+: `variants\.v\.runs`: should be a list of names of runs, or a mapping"),
        ({"runs": ["A"], "based_on": "w"}, r":\d+: `variants\.v\.based_on`: there is no variant `w` before this one"),
        ({"runs": ["A"], "chnges": {}}, r":\d+: `variants\.v\.chnges`: unknown key .*`changes`"),
        ({"runs": {"A": {"chnges": {}}}}, r":\d+: `variants\.v\.runs\.A\.chnges`: unknown key .*`changes`"),
        ({"runs": ["A"], "changes": {"epoch": 3}}, r":\d+: `variants\.v\.changes\.epoch`: unknown key .*`epochs`"),
        ({"runs": {"A": {"changes": {"epochs": 0}}}}, r":\d+: `variants\.v\.runs\.A\.changes\.epochs`: should be"),
        ({"runs": ["A"], "description": ""}, r":\d+: `variants\.v\.description`: must not be empty"),
    ],
)
def test_a_wrong_variant_is_explained(planned: Callable[..., Plan], variant: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"tiny\.yaml.*{message}"):
        planned(variants={"v": variant})


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"1": {"runs": ["rate"]}}, "there is already a run `rate-1`"),
        ({"v" * 58: {"runs": ["A"]}, "w": {"runs": ["A-*"]}}, "`A-v+-w` is too long for a run; 60 characters"),
        ({"v": {"runs": ["A"]}, "w": {"runs": ["B"], "based_on": "v"}}, "there is no run `B-v` .did you mean `A-v`"),
    ],
)
def test_names_of_variants_are_checked(planned: Callable[..., Plan], variants: dict, message: str) -> None:
    runs = STUDY["runs"] | {"rate": {"description": "A run"}}
    with pytest.raises(ConfigurationError, match=rf"tiny\.yaml:\d+: `variants\..*{message}"):
        planned(variants=variants, runs=runs)


def _tables(plan: Plan) -> list[str]:
    return [table.name for table in plan.studies[NAME].all_tables]


def test_every_study_has_the_standard_tables(planned: Callable[..., Plan]) -> None:
    choice = {"what": "W", "choice": "C", "reason": "R"}
    difference = {"what": "W", "text": "T", "code": "C"}
    claim = {
        "id": "c",
        "statement": "S",
        "origin": "ours",
        "rule": "order",
        "runs": ["A", "B"],
        "metric": "test_accuracy",
    }
    whole = {"open_choices": [choice], "differences": [difference], "claims": [claim]}
    assert _tables(planned()) == ["settings", "runs"], "of what is not there is no table"
    assert _tables(planned(**whole)) == ["settings", "runs", "open-choices", "differences", "claims"]
    settings, runs, *_ = planned().studies[NAME].all_tables
    assert settings.runs == runs.runs == ("A", "B", "rate-1", "rate-2")
    own = [{"kind": "split", "name": "split", "title": "T", "caption": "C."}, {"kind": "settings", "caption": "Mine."}]
    plan = planned(tables=own, **whole)
    assert _tables(plan) == ["runs", "split", "settings", "open-choices", "differences", "claims"]
    assert [table.caption for table in plan.studies[NAME].all_tables if table.kind == "settings"] == ["Mine."]
    assert _tables(planned(standard_tables=["claims"], **whole)) == ["claims"]
    assert _tables(planned(standard_tables=[], **whole)) == []
    with pytest.raises(
        ConfigurationError, match=r"tiny\.yaml: .*tables: `runs` is the name of a table that every study has"
    ):
        planned(tables=[{"kind": "split", "name": "runs", "title": "T", "caption": "C."}])


def test_an_extra_study_is_made_where_it_is_asked_for(planned: Callable[..., Plan], workflow: Path) -> None:
    planned(extra=True)
    every = load_plan({"twin": "always"}, workflow)
    assert NAME not in every.studies
    extra = load_plan({"twin": "always", "studies": "extra"}, workflow)
    assert NAME in extra.studies
    assert not extra.studies.keys() & every.studies.keys()
    for path in (workflow / "studies").glob("*.yaml"):
        if path.stem in extra.studies:
            path.unlink()
    with pytest.raises(ConfigurationError, match="has no studies with `extra: true`; `studies: all` makes"):
        load_plan({"studies": "extra"}, workflow)
