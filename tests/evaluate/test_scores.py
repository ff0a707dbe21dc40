"""Metrics equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from mlpaper.evaluate.scores import accuracy, calibration, class_scores, confusion_matrix, macro_f1


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learns(seed: int) -> None:
    """Also with a class that is never predicted (4), one that is absent (5) and one that is neither (6)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 400)
    predictions = np.where(rng.random(400) < 0.6, labels, rng.integers(0, 6, 400))
    predictions[predictions == 4] = 5
    confusion = confusion_matrix(labels, predictions, 7)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(labels, predictions, labels=range(7)))
    expected = sk.precision_recall_fscore_support(labels, predictions, labels=range(7), zero_division=0)
    scores = class_scores(confusion)
    for mine, other in zip((scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12)
    assert accuracy(confusion) == pytest.approx(sk.accuracy_score(labels, predictions), rel=1e-12)
    macro = sk.f1_score(labels, predictions, labels=range(7), average="macro", zero_division=0)
    assert macro_f1(confusion) == pytest.approx(macro, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_equals_scikit_learns_bins_and_the_sum_over_samples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1.0, 500).astype(np.float32)
    correct = rng.random(500) < confidence**2
    found = calibration(confidence, correct)
    accuracy_of_bins, confidence_of_bins = calibration_curve(correct, confidence, n_bins=15)
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy_of_bins)
    np.testing.assert_allclose(found.confidence[filled], confidence_of_bins, rtol=1e-6)
    gaps = np.abs(found.accuracy - found.confidence)
    by_sample = sum(gaps[np.searchsorted(found.edges, c, side="left") - 1] for c in confidence) / 500
    assert found.error == pytest.approx(by_sample)
    assert found.count.sum() == 500


def test_calibration_at_its_ends() -> None:
    """Always sure and right: no error. Always sure and wrong: an error of one. Upper bounds belong to their bin."""
    sure = np.ones(4)
    assert calibration(sure, sure > 0).error == 0
    assert calibration(sure, sure < 0).error == 1
    assert np.flatnonzero(calibration(np.array([0.2, 0.4]), np.array([True, True]), bins=5).count).tolist() == [0, 1]
