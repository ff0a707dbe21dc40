"""The interface for notebooks: the same bits as the pipeline's jobs, and errors that say how to mend them."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mlpaper
from mlpaper import api
from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine.train_job import train_run
from mlpaper.evaluate.gradients import gradients_of_run
from mlpaper.evaluate.measure import evaluate_run
from mlpaper.files import read_npz
from mlpaper.paths import study_table
from mlpaper.study.results import Results

SPEC = mlpaper.make_spec(
    {
        "split": {"scheme": "pool"},
        "network": {"hidden": [24, 24], "batch_norm": True, "dropout": 0.2},
        "loss": {"class_weights": "balanced"},
        "augmentation": {"shift": 1},
        "early_stopping": {"patience": 1, "restore_best": True},
        "batch_size": 100,
        "epochs": 3,
        "seed": 4,
    }
)


@pytest.fixture(scope="module")
def job(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the pipeline's jobs, in a project."""
    folder = tmp_path_factory.mktemp("project") / "results" / "runs" / SPEC.id
    train_run(SPEC, digits, digits / "split.npz", folder, folder.parent / "checkpoint.npz", "")
    evaluate_run(folder, digits, digits / "split.npz")
    gradients_of_run(folder, digits, digits / "split.npz")
    return folder


@pytest.fixture(scope="module")
def data() -> api.Data:
    return mlpaper.load_data(SPEC)


@pytest.fixture(scope="module")
def run(data: api.Data) -> api.Run:
    return mlpaper.train(SPEC, *data.train, validation=data.validation)


@pytest.fixture(scope="module")
def tables(run: api.Run, data: api.Data) -> api.ResultTables:
    small = mlpaper.make_spec({"network": {"hidden": [2]}, "augmentation": {"shift": 0}}, based_on=SPEC)
    return mlpaper.measure(
        {"width-24": run, "width-2": mlpaper.train(small, *data.train, validation=data.validation)}, *data.test
    )


def test_arrays_are_those_of_the_split(digits: Path, data: api.Data) -> None:
    dataset, split = Dataset.open(digits), Split.read(digits / "split.npz")
    for rows, images in ((split.train, data.train), (split.validation, data.validation), (split.test, data.test)):
        assert np.array_equal(images.images, dataset.images[rows])
        assert np.array_equal(images.labels, dataset.labels[rows])


def test_a_run_has_the_bits_of_the_pipelines(job: Path, run: api.Run) -> None:
    weights = read_npz(job / "weights.npz")
    assert list(weights) == list(run.weights)
    assert all(weights[name].tobytes() == run.weights[name].tobytes() for name in weights)
    history = pd.read_parquet(job / "history.parquet")
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), run.history.drop(columns="seconds"), check_exact=True
    )


def test_predictions_and_gradients_are_the_pipelines(job: Path, digits: Path, run: api.Run, data: api.Data) -> None:
    predictions = pd.read_parquet(job / "predictions.parquet")
    for opened in (run, mlpaper.open_run(SPEC.id, project=job.parents[2]), mlpaper.open_run(job)):
        found = opened.predict(data.test.images)
        assert np.array_equal(found.argmax(axis=1), predictions["prediction"])
        assert np.allclose(found.max(axis=1), predictions["confidence"], rtol=1e-6)
        assert np.allclose(found.sum(axis=1), 1, atol=1e-6)
    norms = run.gradients(*data.train).drop(columns="norm")
    pd.testing.assert_frame_equal(norms, pd.read_parquet(job / "gradients.parquet").drop(columns="norm"))
    # Not in the order of the first epoch, so the batch sums in another one.
    assert np.allclose(
        run.gradients(*data.train)["norm"], pd.read_parquet(job / "gradients.parquet")["norm"], rtol=1e-4
    )


def test_metrics_are_the_pipelines(job: Path, tables: api.ResultTables) -> None:
    frame = Results({"width-24": [job]}).metrics({})
    write = job.parents[2] / study_table("mine")
    write.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(write)
    opened = mlpaper.results("mine", project=job.parents[2])
    here = tables.metrics[tables.metrics["run"] == "width-24"]
    varying = ("seconds", "seconds_per_epoch", "peak_memory")
    values = [it[~it["metric"].isin(varying)].set_index("metric")["value"] for it in (opened.metrics, here)]
    assert len(values[0]) > 10
    pd.testing.assert_series_equal(*values, check_exact=True)
    assert (
        opened.histories["validation_loss"].tolist()
        == tables.histories.query("run == 'width-24'")["validation_loss"].tolist()
    )
    with pytest.raises(mlpaper.MlpaperError, match=r"did you mean `mine`\?\): snakemake --cores 4 makes it"):
        mlpaper.results("mind", project=job.parents[2])


def test_files_of_a_run_are_opened_again(tmp_path: Path, data: api.Data) -> None:
    spec = mlpaper.make_spec({"network": {"hidden": []}, "epochs": 1})
    made = mlpaper.train(spec, *data.train, folder=tmp_path)
    opened = mlpaper.open_run(tmp_path)
    assert opened.spec == spec
    assert opened.outcome == made.outcome | {"peak_memory_bytes": opened.outcome["peak_memory_bytes"]}
    pd.testing.assert_frame_equal(opened.history, made.history)
    assert opened.history["validation_loss"].isna().all(), "there were no validation images"
    assert np.array_equal(opened.predict(data.test.images), made.predict(data.test.images))
    metrics = mlpaper.measure({"linear": opened}, *data.test).table("train_accuracy")
    assert metrics.loc["linear", 0] == made.history["train_accuracy"].iloc[-1]


def test_claims_of_ones_own(tables: api.ResultTables, run: api.Run, data: api.Data) -> None:
    claim = {"rule": "best", "runs": ["width-*"], "best": ["width-24"], "metric": "test_accuracy"}
    found = mlpaper.judge(claim, tables)
    assert (found.verdict, set(found.means)) == ("leaning for", {"width-2", "width-24"})
    assert mlpaper.judge(claim | {"best": ["width-2"]}, tables).verdict == "leaning against"
    speed = {"rule": "speed", "fast": "width-24", "slow": "width-2", "target": 0.3}
    assert mlpaper.judge(speed, tables).value is not None, "histories of runs in memory are read"
    twice = mlpaper.measure({"a": run, "b": run}, *data.test)
    same = mlpaper.judge({"rule": "difference", "first": "a", "second": "b", "metric": "test_accuracy"}, twice)
    assert (same.verdict, same.remark) == ("inconclusive", "a and b are the same run at this scale")


CLAIM = {"rule": "difference", "first": "width-24", "second": "width-2", "metric": "test_accuracy"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, t: mlpaper.make_spec({"network": {"hiden": [3]}}), r"make_spec: `network.hiden`: .*`hidden`\?"),
        (lambda d, t: mlpaper.load_study("residual"), r"load_study: .*no study `residual`.*`residual-depth`\?"),
        (lambda d, t: mlpaper.load_spec("emnist-bymerge", "M1bb"), r"has no run `M1bb` \(did you mean `M1b`\?"),
        (lambda d, t: mlpaper.load_spec("emnist-bymerge", "M1b", scale="dem"), r"load_spec: .*`demo`\?"),
        (lambda d, t: mlpaper.train(SPEC, d.train.images / 255, d.train.labels), r"images must be uint8 .*float64"),
        (lambda d, t: mlpaper.train(SPEC, d.train.images.reshape(-1, 28, 28), d.train.labels), r"images.reshape\("),
        (lambda d, t: mlpaper.train(SPEC, d.train.images, d.train.labels[1:]), r"labels must be integers of shape"),
        (
            lambda d, t: mlpaper.train(SPEC, *d.train, validation=d.test, classes=5),
            r"labels go up to 9, and `classes=5`",
        ),
        (
            lambda d, t: mlpaper.train(SPEC, *d.train, validation=(d.test.images[:, 1:], d.test.labels)),
            r"have 783 pixels",
        ),
        (lambda d, t: mlpaper.train(SPEC, *d.train), r"stops early.*validation=\(images, labels\)"),
        (lambda d, t: mlpaper.judge(CLAIM | {"first": "width-23"}, t), r"no run `width-23` \(did you mean `width-2"),
        (lambda d, t: mlpaper.judge(CLAIM | {"metric": "accuracy"}, t), r"unknown metric \(did you mean"),
        (lambda d, t: mlpaper.judge(CLAIM, t, study="x"), r"no study `x`"),
        (lambda d, t: t.table("test_acuracy"), r"did you mean `test_accuracy`\?"),
        (lambda d, t: mlpaper.load_data(SPEC, mirror="ftp://x"), r"load_data: `mirror` must be a folder"),
        (lambda d, t: mlpaper.load_data(SPEC, mirror="/nowhere"), r"load_data: `mirror`: there is no folder"),
        (lambda d, t: mlpaper.open_run("nothing"), r"there is no run .*nothing"),
        (lambda d, t: mlpaper.claims(project="/nowhere"), r"claims.parquet is missing: snakemake"),
    ],
)
def test_errors_say_how_to_mend_them(
    wrong: Callable[[api.Data, api.ResultTables], Any], message: str, data: api.Data, tables: api.ResultTables
) -> None:
    with pytest.raises(mlpaper.MlpaperError) as caught:
        wrong(data, tables)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import mlpaper; print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(out.split()) == {"mlpaper"}


def test_types_and_names_are_those_of_the_interface() -> None:
    stub = (Path(mlpaper.__file__).parent / "__init__.pyi").read_text()
    assert sorted(re.findall(r"import (\w+) as \1$", stub, re.MULTILINE)) == sorted(mlpaper.__all__)
    assert all(getattr(mlpaper, name) is getattr(api, name) for name in mlpaper.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mlpaper.trian  # noqa: B018
