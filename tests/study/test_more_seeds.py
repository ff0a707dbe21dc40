"""`mlpaper seeds`: which seeds are proposed, how long they take, and the file that asks for them."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from mlpaper import cli
from mlpaper.data.sources import Source
from mlpaper.digest import RULES, digest
from mlpaper.errors import MlpaperError
from mlpaper.files import write_json
from mlpaper.paths import run_folder, study_sampling, study_table
from mlpaper.spec import RunSpec
from mlpaper.study import timing, yaml_file
from mlpaper.study.forecast import Forecast
from mlpaper.study.more_seeds import Proposal, with_more_seeds
from mlpaper.study.plan import Plan, load_plan
from mlpaper.study.sampling import NO_SAMPLING
from mlpaper.study.schema.settings import Settings
from mlpaper.study.timing import Cost

STUDY = "residual-depth"
CONFIG = ("scale=demo", f"studies=[{STUDY}]")
ACCURACIES = {"plain-30": (0.1, 0.1, 0.1), "residual-30": (0.93, 0.94, 0.92), "residual-two-31": (0.926, 0.94, 0.929)}


@pytest.fixture
def plan(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A project with results of one study, three seeds of every run; on a machine that takes a second for each job."""

    def cost(spec: RunSpec, batch: int, source: Source) -> Cost:
        return Cost(0.0, 0.0, 0.0)

    monkeypatch.setattr(timing, "cost", cost)
    monkeypatch.setattr(timing, "job", lambda name: 1.0)
    monkeypatch.chdir(workflow.parent)
    shutil.copy(Path(__file__).parents[2] / "config.yaml", workflow.parent)
    plan = load_plan({"scale": "demo", "studies": [STUDY]}, workflow)
    code, rows = digest(*RULES["train"]), []
    for run, specs in plan.specs[STUDY].items():
        for spec in specs:
            write_json(Path(run_folder(spec.id)) / "run.json", {"code_digest": code, "epochs": 1})
            value = ACCURACIES.get(run, (0.95, 0.96, 0.955))[spec.seed]
            rows.append((run, spec.seed, spec.id, "finished", "test_accuracy", value))
    table = Path(study_table(STUDY))
    table.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"]).to_parquet(table)
    NO_SAMPLING.write(Path(study_sampling(STUDY)))
    return plan


def seeds(*arguments: str) -> str:
    done = CliRunner().invoke(cli.cli, ["seeds", "--cores", "2", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_file_adds_seeds_to_the_runs_that_need_them(plan: Plan) -> None:
    told = seeds("--write", "more.yaml", "--config", *CONFIG)
    listed = told.splitlines()
    assert listed[1].split()[:4] == ["3", "->", "11", "seeds"]
    assert listed[1].endswith(f"{STUDY}.plain-collapses: plain-30")
    assert f"{STUDY}.plain-loss-rises: not measured" in told
    new = load_plan(yaml_file.load(Path("more.yaml")), Path("workflow"))
    more = {run: len(specs) - 3 for run, specs in new.specs[STUDY].items() if len(specs) > 3}
    assert more["plain-30"] == 8
    assert set(more) == {"plain-30", "residual-two-31", "residual-30"}
    assert more["residual-two-31"] == more["residual-30"] > 2, "runs of a claim get the same seeds"
    assert plan.runs.keys() < new.runs.keys()
    assert f"All of them: {sum(more.values())} runs, " in told
    text = Path("more.yaml").read_text()
    assert f"  # for plain-collapses (3 -> 11 seeds)\n  {STUDY}.plain-30: {[*range(11)]}\n" in text
    kept = {key: value for key, value in yaml_file.load(Path("more.yaml")).items() if key != "seeds"}
    assert Settings.model_validate(kept) == Settings(scale="demo", studies=(STUDY,))
    assert seeds("--write", "more.yaml", "--config", *CONFIG) == told, "it may be written once more"
    Path("mine.yaml").write_text("scale: demo\n")
    with pytest.raises(MlpaperError, match=r"mine\.yaml exists, and `mlpaper seeds` did not write it"):
        seeds("--write", "mine.yaml", "--config", *CONFIG)


def test_results_of_other_settings_are_refused(plan: Plan) -> None:
    with pytest.raises(MlpaperError, match=r"other settings: run `.*` is .*-s0-\w+ and 2 more there"):
        seeds("--config", *CONFIG, "seeds=[0, 1]")
    Path(study_sampling(STUDY)).unlink()
    with pytest.raises(MlpaperError, match=r"sampling\.npz is missing: make the results first"):
        seeds("--config", *CONFIG)


def test_seeds_are_added_to_those_of_the_settings() -> None:
    def proposal(claim: str, *all_seeds: int) -> Proposal:
        return Proposal("a", claim, Forecast("seeds", 2, len(all_seeds)), {"r": all_seeds}, frozenset())

    two = (proposal("x", 0, 1, 2), proposal("y", 0, 1, 2, 3))
    for asked, expected in (
        ("auto", {}),
        ([0, 1], {"a": [0, 1], "b": [0, 1]}),
        ({"b": [7], "a.r": [0, 1], "a.*": [5]}, {"b": [7], "a.*": [5]}),
    ):
        settings = Settings.model_validate({"seeds": asked})
        for proposals in (two, two[::-1]):
            assert with_more_seeds(settings, ["a", "b"], proposals) == expected | {"a.r": [0, 1, 2, 3]}
