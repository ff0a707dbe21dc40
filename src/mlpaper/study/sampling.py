"""How much scores depend on which images the test set happens to hold, for all runs on that set together.

A score over N images is, to first order, a mean of one number per image: its *influence* (Efron 1982, chapter 6). Runs
that err on the same images have influences alike. So the covariance of the scores of runs is that of their influences,
over N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlpaper.evaluate.scores import BINS
from mlpaper.files import read_npz, write_npz
from mlpaper.study.metrics import NOISE_METRIC

if TYPE_CHECKING:
    from mlpaper.study.results import Results

Array = NDArray[np.float64]
SAMPLED = ("test_accuracy", "macro_f1", "f1_gap", "test_cross_entropy", "calibration_error")
"""Metrics of single predictions on the test set."""


@dataclass(frozen=True)
class Sampling:
    """Covariances of scores by the choice of test images."""

    runs: tuple[str, ...] = ()
    """Runs in the order of the matrices; of several test sets, one after the other."""
    covariances: Mapping[str, Array] = field(default_factory=dict)
    """(runs, runs) by metric; zero between runs on different test sets."""
    images: Mapping[str, int] = field(default_factory=dict)
    """Test images, by run."""

    def covariance(self, metric: str, runs: Sequence[str], means: Array) -> Array | None:
        """The covariance of the scores of these runs; None for metrics that are not on test images.

        Of predictions under noise only their accuracy is kept: it counts as a share of independent images.
        """
        if not self.images or any(run not in self.images for run in runs):
            return None
        if NOISE_METRIC.fullmatch(metric) or metric == "strong_noise_accuracy":
            return np.diag(means * (1 - means) / [self.images[run] for run in runs])
        if metric not in self.covariances:
            return None
        places = [self.runs.index(run) for run in runs]
        found: Array = self.covariances[metric][np.ix_(places, places)]
        return found

    def write(self, path: Path) -> None:
        """Keep it as `sampling.npz`."""
        images = np.array([self.images[run] for run in self.runs], dtype=np.int64)
        write_npz(path, {"runs": np.array(self.runs, dtype=np.str_), "images": images, **self.covariances})

    @classmethod
    def read(cls, path: Path) -> Sampling:
        """Read `sampling.npz`."""
        arrays = read_npz(path)
        runs = tuple(map(str, arrays.pop("runs")))
        images = dict(zip(runs, map(int, arrays.pop("images")), strict=True))
        return cls(runs, arrays, images)


NO_SAMPLING = Sampling()


def sampling_of(results: Results) -> Sampling:
    """The covariances of a study's runs, from the predictions of all seeds that did not diverge.

    The score of a run is the mean over its seeds, and so is its influence.
    """
    groups: dict[bytes, dict[str, dict[str, NDArray[np.float32]]]] = {}
    for run, folders in results.runs.items():
        kept = [folder for folder in folders if folder.converged]
        if not kept:
            continue
        columns = [folder.predictions() for folder in kept]
        classes = len(kept[0].evaluation["per_class"])
        of_seeds = [influences(predicted, classes) for predicted in columns]
        mean = {metric: np.mean([found[metric] for found in of_seeds], axis=0) for metric in SAMPLED}
        groups.setdefault(columns[0]["index"].tobytes(), {})[run] = mean
    runs = [run for of_set in groups.values() for run in of_set]
    covariances = {metric: np.zeros((len(runs), len(runs))) for metric in SAMPLED}
    images: dict[str, int] = {}
    begin = 0
    for of_set in groups.values():
        place = slice(begin, begin + len(of_set))
        for metric in SAMPLED:
            influence = np.stack([found[metric] for found in of_set.values()])
            covariances[metric][place, place] = covariance(influence)
        images.update({run: len(of_run[SAMPLED[0]]) for run, of_run in of_set.items()})
        begin = place.stop
    return Sampling(tuple(runs), covariances, images)


def influences(columns: Mapping[str, NDArray[Any]], classes: int) -> dict[str, NDArray[np.float32]]:
    """Influence of every test image on the scores of one run, float32 (N,), by metric; their mean is zero.

    Parameters
    ----------
    columns
        `predictions.parquet`: label, prediction, confidence, log_probability.
    """
    label, prediction = (np.asarray(columns[name], dtype=np.int64) for name in ("label", "prediction"))
    confidence, log_probability = (np.asarray(columns[name], dtype=float) for name in ("confidence", "log_probability"))
    right = (label == prediction).astype(float)
    accuracy, f1 = right - right.mean(), _macro_f1(label, prediction, classes)
    found = {
        "test_accuracy": accuracy,
        "test_cross_entropy": log_probability.mean() - log_probability,
        "macro_f1": f1,
        "f1_gap": accuracy - f1,
        "calibration_error": _calibration(confidence, right),
    }
    return {metric: values.astype(np.float32) for metric, values in found.items()}


def _macro_f1(label: NDArray[np.int64], prediction: NDArray[np.int64], classes: int) -> Array:
    """F1 of class k is 2 h / t, with h hits and t the images labelled or predicted k; an image changes both."""
    n = len(label)
    hits = np.bincount(label[label == prediction], minlength=classes) / n
    total = (np.bincount(label, minlength=classes) + np.bincount(prediction, minlength=classes)) / n
    filled = np.maximum(total, 1e-12)
    of_hit, of_total = 2 / filled, -2 * hits / filled**2
    values = (label == prediction) * of_hit[label] + of_total[label] + of_total[prediction]
    influence: Array = (values - values.mean()) / classes
    return influence


def _calibration(confidence: Array, right: Array) -> Array:
    """The error is a sum over bins of |mean of right - confidence|, times the bin's share."""
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    side = np.sign(np.bincount(place, weights=right - confidence, minlength=BINS))
    values = side[place] * (right - confidence)
    influence: Array = values - values.mean()
    return influence


def covariance(influence: NDArray[np.float32]) -> Array:
    """Covariance of scores from influences, (runs, N) to (runs, runs), all on the same N images."""
    n = influence.shape[1]
    found: Array = (influence.astype(np.float64) @ influence.T.astype(np.float64)) / n**2
    return found
