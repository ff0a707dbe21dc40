"""Metrics equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mlpaper.evaluate.metrics import accuracy, class_scores, confusion_matrix, macro_f1


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
