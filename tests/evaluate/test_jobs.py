"""The evaluation jobs on a trained run: files, metrics recomputed by scikit-learn, and noise."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine.executor import EVALUATION_ROWS
from mlpaper.engine.train_job import train_run
from mlpaper.evaluate import predict, robustness
from mlpaper.evaluate.measure import confusion_of_run, evaluate_run, robustness_of_run
from mlpaper.files import read_json, read_npz, write_json, write_npz
from mlpaper.run_files import facts_of
from mlpaper.spec import PoolSpec, RunSpec
from mlpaper.study.results import Results

SIGMAS = (0.0, 0.3, 2.0)


def _train(digits: Path, folder: Path, **fields: object) -> Path:
    spec = RunSpec(dataset=PoolSpec(name="digits"), batch_size=32, epochs=8, **fields)
    train_run(spec, digits, digits / "split.npz", folder, folder / "checkpoint.npz", "test")
    evaluate_run(folder, digits, digits / "split.npz")
    confusion_of_run(folder, 10)
    robustness_of_run(folder, digits, digits / "split.npz", SIGMAS, noise_seeds=2)
    return folder


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(digits, tmp_path_factory.mktemp("run"))


def test_predictions_and_metrics_are_those_of_the_test_set(digits: Path, run: Path) -> None:
    dataset, split = Dataset.open(digits), Split.read(digits / "split.npz")
    table, test = pd.read_parquet(run / "predictions.parquet"), read_json(run / "evaluation.json")["test"]
    np.testing.assert_array_equal(table["index"], split.test)
    np.testing.assert_array_equal(table["label"], dataset.labels[split.test])
    assert test["samples"] == len(split.test)
    assert test["accuracy"] == pytest.approx(accuracy_score(table["label"], table["prediction"]))
    assert test["macro_f1"] == pytest.approx(f1_score(table["label"], table["prediction"], average="macro"))
    assert test["cross_entropy"] == pytest.approx(-table["log_probability"].mean(), rel=1e-5)
    assert test["accuracy"] > 0.9
    right = table["label"] == table["prediction"]
    np.testing.assert_allclose(np.exp(table["log_probability"][right]), table["confidence"][right], rtol=1e-5)
    assert (table["confidence"][~right] >= np.exp(table["log_probability"][~right])).all()
    matrix = read_npz(run / "confusion.npz")["matrix"]
    assert np.trace(matrix) == right.sum()
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(table["label"], minlength=10))


def test_noise_harms_and_its_absence_does_not(run: Path) -> None:
    table = pd.read_parquet(run / "robustness.parquet")
    clean = read_json(run / "evaluation.json")["test"]["accuracy"]
    means = table.groupby("sigma")["accuracy"].mean()
    assert len(table) == len(SIGMAS) * 2
    assert means[0.0] == pytest.approx(clean)
    assert means[0.0] > means[0.3] > means[2.0]
    noisy = table[table["sigma"] == 0.3]["accuracy"]
    assert noisy.nunique() == 2, "two noise seeds must give different noise"


def test_standardised_inputs_get_their_noise_before_they_are_standardised(digits: Path, tmp_path: Path) -> None:
    folder = _train(digits, tmp_path, input={"mean": 0.2, "std": 0.5})
    table, test = pd.read_parquet(folder / "robustness.parquet"), read_json(folder / "evaluation.json")["test"]
    clean = table[table["sigma"] == 0]
    assert clean["accuracy"].tolist() == [test["accuracy"]] * 2
    np.testing.assert_allclose(clean["cross_entropy"], test["cross_entropy"], rtol=1e-5)
    assert test["accuracy"] > 0.9


@pytest.fixture
def picking(digits: Path, run: Path, tmp_path: Path) -> Path:
    """The run with other weights: every unit takes one input, times 4, so that any order of its sum is exact."""
    folder, rng = Path(shutil.copytree(run, tmp_path / "picking")), np.random.default_rng(0)
    tensors = {name: np.zeros_like(tensor) for name, tensor in read_npz(folder / "weights.npz").items()}
    for name, tensor in tensors.items():
        if name.endswith("weight"):
            tensor[rng.integers(0, len(tensor), tensor.shape[1]), np.arange(tensor.shape[1])] = 4
    write_npz(folder / "weights.npz", tensors)
    write_json(folder / "run.json", read_json(folder / "run.json") | {"files": facts_of(folder)})
    return folder


def test_the_size_of_a_batch_changes_no_score(digits: Path, picking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All images are scored, to the same bits, and an image has its noise wherever it stands."""
    tables = []
    for rows in (EVALUATION_ROWS, 61):
        for module in (predict, robustness):
            monkeypatch.setattr(module, "EVALUATION_ROWS", rows)
        evaluate_run(picking, digits, digits / "split.npz")
        robustness_of_run(picking, digits, digits / "split.npz", SIGMAS, noise_seeds=2)
        tables.append([pd.read_parquet(picking / f"{name}.parquet") for name in ("predictions", "robustness")])
    (scores, noisy), (scores_of_many, noisy_of_many) = tables
    assert scores["log_probability"].nunique() > 300, "weights that see nothing prove nothing"
    assert noisy["cross_entropy"].nunique() == 5, "without noise the two seeds agree"
    pd.testing.assert_frame_equal(scores_of_many, scores, check_exact=True)
    pd.testing.assert_frame_equal(noisy_of_many, noisy, rtol=1e-12, atol=0)  # sums of float64 over all images


def test_a_diverged_run_has_no_metrics_and_breaks_nothing(digits: Path, tmp_path: Path) -> None:
    with np.errstate(all="ignore"):
        made = _train(digits, tmp_path / "made", optimizer={"name": "sgd", "learning_rate": 1e30})
    folder = made.rename(tmp_path / read_json(made / "run.json")["id"])
    assert read_json(folder / "run.json")["outcome"] == "diverged"
    assert read_json(folder / "evaluation.json")["test"]["accuracy"] is None
    assert len(pd.read_parquet(folder / "robustness.parquet")) == 0
    assert set(Results({"M": [folder]}).metrics({})["metric"]) == {"epochs", "seconds", "parameters", "peak_memory"}
