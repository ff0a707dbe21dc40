"""Comparing runs with what was recorded: verdicts, messages, exit codes."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlpaper import cli
from mlpaper import verify as verifying
from mlpaper.errors import ConfigurationError, MlpaperError
from mlpaper.spec import PoolSpec, RunSpec
from mlpaper.verify import ACCURACY, LOSS, Outcome, Reference, Sample, compare

REFERENCE = Path(__file__).parent / "reference"
RESULTS = Outcome(
    outcome="finished",
    epochs=5,
    steps=100,
    parameters=650,
    test_images=368,
    test_accuracy=350 / 368,
    test_cross_entropy=0.2,
    validation_loss=0.25,
    images="a",
    weights="b",
)


@pytest.fixture(autouse=True)
def _messages_of_other_tests() -> Iterator[None]:
    """`verify` says less of its training; tests that come after this one hear it all."""
    logger = logging.getLogger("mlpaper")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A copy of the repository's references."""
    return Path(shutil.copytree(REFERENCE, tmp_path / "reference"))


def _verify(reference: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["verify", "--reference", str(reference), *arguments])


def _change(reference: Path, run: str, **results: object) -> None:
    file = reference / "digits.json"
    values = json.loads(file.read_text())
    values["runs"][run]["results"] |= results
    file.write_text(json.dumps(values))


def test_this_machine_reproduces_the_reference(reference: Path) -> None:
    done = _verify(reference, "--only", "descent", "--only", "early-stopping")
    assert done.exit_code == 0, done.output
    for run in ("descent", "early-stopping"):
        line = next(line for line in done.output.splitlines() if line.startswith(f"{run} "))
        assert line.split()[1] in ("identical", "equal")
    assert "recorded 20" in done.output
    assert "adam-l2" not in done.output


def test_a_changed_metric_is_different(reference: Path) -> None:
    _change(reference, "descent", test_accuracy=0.5, epochs=14)
    done = _verify(reference, "--only", "descent")
    assert done.exit_code == 1
    assert "different" in done.output
    found = re.search(
        r"epochs: 15 instead of 14; test_accuracy: (\S+) instead of 0.5000, (\d+) of 368 images", done.output
    )
    assert found, done.output
    accuracy, images = float(found[1]), int(found[2])  # another processor may round one image to the other side
    assert accuracy == pytest.approx(0.9402, abs=ACCURACY)
    assert accuracy - 0.5 == pytest.approx(images / 368, abs=1e-4)


def test_changed_weights_alone_are_equal(reference: Path) -> None:
    _change(reference, "descent", weights="0" * 64)
    done = _verify(reference, "--only", "descent")
    assert done.exit_code == 0
    assert "1 equal." in done.output


def test_what_is_recorded_here_is_identical_here(tmp_path: Path) -> None:
    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "network": {"hidden": [8]}, "epochs": 2})
    verifying.write(tmp_path / "digits.json", Reference(runs={"small": Sample(about="small", spec=spec)}))
    before = _verify(tmp_path)
    assert before.exit_code == 1
    assert "nothing is recorded of it" in before.output
    assert "small: recorded" in _verify(tmp_path, "--record").output
    recorded = json.loads((tmp_path / "digits.json").read_text())
    assert recorded["runs"]["small"]["spec"] == json.loads(spec.canonical())
    assert {"date", "commit", "code", "machine", "versions"} <= recorded["recorded"].keys()
    after = _verify(tmp_path)
    assert after.exit_code == 0
    assert "1 identical." in after.output


def test_data_that_are_not_there_are_a_reason_not_an_error(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = (reference / "mnist.json").read_text()
    done = _verify(reference, "--only", "mnist-descent")
    assert done.exit_code == 1, "nothing was verified"
    assert _verify(reference, "--only", "mnist-descent", "--only", "sum").exit_code == 0
    assert "not run    MNIST is not in data/mnist: name a folder or URL that has it by --mirror" in done.output
    (reference / "digits.json").unlink()
    assert "not recorded" in _verify(reference, "--record").output
    assert (reference / "mnist.json").read_text() == before


def test_mnist_from_a_mirror(reference: Path, mirror: Path) -> None:
    done = _verify(reference, "--only", "mnist-descent", "--mirror", str(mirror))
    assert done.exit_code == 0
    assert "1 identical." in done.output or "1 equal." in done.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"holds no reference \(\*\.json\): call this in the repository's folder"),
        ("{", r"digits\.json is not a sound reference"),
        ('{"runs": {"a": {"about": ""}}}', r"digits\.json: `runs\.a\.spec`: is missing"),
        ('{"runs": {"a": {"about": "", "spec": {"dataset": {"name": "../mnist"}}}}}', "`runs.a.spec.dataset.name`"),
    ],
)
def test_a_reference_that_is_not_sound(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "digits.json").write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        verifying.read(tmp_path)
    failed = _verify(tmp_path)
    assert isinstance(failed.exception, MlpaperError), "main prints it as a message"


def test_a_dataset_that_no_file_describes(reference: Path) -> None:
    file = reference / "digits.json"
    file.write_text(file.read_text().replace('"name": "digits"', '"name": "digitz"'))
    failed = _verify(reference, "--only", "descent").exception
    assert "there is no dataset `digitz` (did you mean `digits`?)" in str(failed)


def test_wrong_options(reference: Path) -> None:
    assert "there is no run `descnt` (did you mean `descent`?)" in str(_verify(reference, "--only", "descnt").exception)
    assert "there is no folder /nowhere" in str(_verify(reference, "--mirror", "/nowhere").exception)
    assert "leave --only out" in _verify(reference, "--only", "descent", "--record").output


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "identical"),
        ({"weights": "c"}, "equal"),
        ({"weights": "c", "test_accuracy": 349 / 368}, "equal"),
        ({"weights": "c", "test_accuracy": 348 / 368}, "different"),
        ({"weights": "c", "validation_loss": 0.25 * (1 + 0.9 * LOSS)}, "equal"),
        ({"weights": "c", "validation_loss": 0.25 * (1 + 1.1 * LOSS)}, "different"),
        ({"weights": "c", "test_cross_entropy": float("nan")}, "different"),
        ({"epochs": 6}, "different"),
        ({"images": "other"}, "different"),
        ({"outcome": "diverged", "test_accuracy": None, "validation_loss": None}, "different"),
    ],
)
def test_verdicts(change: dict, verdict: str) -> None:
    assert compare("run", RESULTS, RESULTS.model_copy(update=change)).verdict == verdict


def test_half_a_point_counts_where_it_is_more_than_an_image() -> None:
    many = RESULTS.model_copy(update={"test_images": 10_000, "test_accuracy": 0.9, "weights": "c"})
    within, beyond = (
        many.model_copy(update={"test_accuracy": 0.9 + it * ACCURACY, "weights": "d"}) for it in (0.9, 1.1)
    )
    assert (compare("a", many, within).verdict, compare("a", many, beyond).verdict) == ("equal", "different")


def test_the_sample_covers_what_the_engine_has() -> None:
    runs = verifying.chosen(verifying.read(REFERENCE), ())
    specs = [sample.spec for sample in runs.values()]
    assert all(sample.results is not None for sample in runs.values())
    assert {spec.optimizer.name for spec in specs} == {"sgd", "adam"}
    assert {"full"} < {spec.batch_size for spec in specs}
    for has in (
        lambda spec: spec.network.dropout,
        lambda spec: spec.network.batch_norm,
        lambda spec: spec.network.residual,
        lambda spec: spec.loss.reduction == "sum",
        lambda spec: spec.early_stopping,
        lambda spec: spec.schedule.name != "constant",
        lambda spec: spec.decay.l2,
        lambda spec: spec.decay.decoupled,
        lambda spec: getattr(spec.optimizer, "momentum", 0),
        lambda spec: spec.dataset != PoolSpec(name="digits"),
    ):
        assert any(has(spec) for spec in specs)
