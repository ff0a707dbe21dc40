"""Classification metrics. Conventions are scikit-learn's with `labels=range(K)` and `zero_division=0`.

Calibration follows Guo et al. (2017), equation 3, with bins of equal width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int64 (K, K): row is the true class, column the predicted one.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    cells = np.bincount(labels.astype(np.int64) * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True)
class ClassScores:
    """Scores of every class, float64 (K,); a class that is never predicted, or absent, scores 0."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    """Number of samples of every class, int64."""


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision tp / (tp + fp), recall tp / (tp + fn) and F1 = 2 tp / (2 tp + fp + fn) of every class."""
    hits = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, predicted + support),
        support=support,
    )


def accuracy(confusion: np.ndarray) -> float:
    """Share of samples on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: np.ndarray) -> float:
    """Unweighted mean of F1 over all K classes."""
    return float(class_scores(confusion).f1.mean())


BINS = 15
"""Bins of the expected calibration error."""


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy in bins of equal width over (0, 1], float64 (BINS,); NaN where a bin is empty."""

    count: np.ndarray
    """Samples of every bin, int64."""
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """Bounds of the bins, (BINS + 1,); a bin holds its upper bound."""
        return np.linspace(0.0, 1.0, len(self.count) + 1)

    @property
    def error(self) -> float:
        """Expected calibration error: sum over bins of count / N times |accuracy - confidence|."""
        filled = self.count > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.sum(self.count[filled] * gaps) / self.count.sum())


def bins_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of every confidence, int64 (N,), of so many of equal width over (0, 1]; a bin holds its upper bound."""
    place: np.ndarray = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return place


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Calibration:
    """Bin predictions by their confidence.

    Parameters
    ----------
    confidence
        Probability of the predicted class, (N,), in (0, 1].
    correct
        Whether the prediction is right, bool (N,).

    >>> calibration(np.array([0.9, 0.9, 0.3]), np.array([True, False, True]), bins=2).accuracy
    array([1. , 0.5])
    """
    confidence = confidence.astype(np.float64)
    place = bins_of(confidence, bins)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=bins) / count for values in (confidence, correct)]
    return Calibration(count, *means)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = np.zeros(len(numerator))
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
