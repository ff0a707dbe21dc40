"""Covariances of scores by the choice of test images, against resampled test sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpaper.evaluate.scores import calibration, confusion_matrix, macro_f1
from mlpaper.study.sampling import NO_SAMPLING, SAMPLED, Sampling, covariance, influences

CLASSES, IMAGES = 5, 2000


def predictions(random: np.random.Generator, label: np.ndarray, hard: np.ndarray) -> dict[str, np.ndarray]:
    wrong = random.random(IMAGES) < 0.5 * hard
    prediction = np.where(wrong, random.integers(0, CLASSES, IMAGES), label)
    confidence = np.clip(0.95 - 0.3 * hard + 0.1 * random.random(IMAGES), 0.2, 1.0)
    log_probability = np.log(np.where(prediction == label, confidence, 0.1 * random.random(IMAGES) + 0.01))
    return {"label": label, "prediction": prediction, "confidence": confidence, "log_probability": log_probability}


def scores(columns: dict[str, np.ndarray], chosen: np.ndarray) -> list[float]:
    label, prediction, confidence, log_probability = (columns[name][chosen] for name in columns)
    right = label == prediction
    f1 = macro_f1(confusion_matrix(label, prediction, CLASSES))
    error = calibration(confidence, right).error
    values = {
        "test_accuracy": right.mean(),
        "macro_f1": f1,
        "f1_gap": right.mean() - f1,
        "test_cross_entropy": -log_probability.mean(),
        "calibration_error": error,
    }
    return [float(values[metric]) for metric in SAMPLED]


def test_influences_give_the_covariance_of_resampled_scores() -> None:
    random = np.random.default_rng(0)
    label = random.choice(CLASSES, IMAGES, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    hard = random.random(IMAGES) ** 2
    runs = [predictions(random, label, hard) for _ in range(2)]
    found = [influences(columns, CLASSES) for columns in runs]
    resampled = []
    for _ in range(600):
        chosen = random.integers(0, IMAGES, IMAGES)
        resampled.append([scores(columns, chosen) for columns in runs])
    for place, metric in enumerate(SAMPLED):
        expected = np.cov(np.array(resampled)[:, :, place].T)
        own = covariance(np.stack([of_run[metric] for of_run in found]))
        np.testing.assert_allclose(own, expected, atol=0.2 * np.diag(expected).max(), err_msg=metric)
        assert all(abs(of_run[metric].mean()) < 1e-6 for of_run in found)
    accuracy = covariance(np.stack([of_run["test_accuracy"] for of_run in found]))
    assert accuracy[0, 1] > 0.1 * accuracy[0, 0], "runs err on the same images"


def test_the_file_keeps_everything_and_other_metrics_have_no_covariance(tmp_path: Path) -> None:
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    sampling = Sampling(("A", "B"), {"test_accuracy": matrix}, {"A": 100, "B": 100})
    sampling.write(tmp_path / "sampling.npz")
    read = Sampling.read(tmp_path / "sampling.npz")
    means = np.array([0.5, 0.9])
    np.testing.assert_array_equal(read.covariance("test_accuracy", ["B", "A"], means), matrix[::-1, ::-1])
    np.testing.assert_allclose(read.covariance("noise_accuracy_0.2", ["A", "B"], means), np.diag([0.0025, 0.0009]))
    assert read.covariance("validation_accuracy", ["A"], means[:1]) is None
    assert read.covariance("test_accuracy", ["A", "diverged"], means) is None
    assert NO_SAMPLING.covariance("test_accuracy", ["A"], means[:1]) is None


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_a_perfect_run_depends_on_no_image(classes: int) -> None:
    label = np.arange(100) % classes
    sure = {"label": label, "prediction": label, "confidence": np.ones(100), "log_probability": np.zeros(100)}
    for values in influences(sure, classes).values():
        np.testing.assert_allclose(values, 0, atol=1e-12)
