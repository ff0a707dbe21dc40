"""The metrics of a run: what they are called, their units, and which file of a run they are read from.

Values are stored as fractions, nats, seconds, MiB, counts or decades (a power of ten);
`mlpaper.paper.number_format` says how they are shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Unit = Literal["%", "points", "nats", "s", "MiB", "decades", ""]
FRACTIONS = ("%", "points")
"""Units of metrics that are stored as fractions."""
File = Literal["outcome", "evaluation", "history", "robustness", "gradients"]


@dataclass(frozen=True)
class Metric:
    """One number about one run."""

    label: str
    unit: Unit
    """`%` for a fraction, `points` for a difference of fractions, `decades` for the decimal logarithm of a ratio or
    norm, nothing for a count."""
    file: File
    """What it is read from; `robustness` and `gradients` exist only for runs that ask for them."""
    lower_is_better: bool = False
    worst: float | None = None
    """What a diverged run counts as where claims are decided; None where nothing can be said of it."""


METRICS: dict[str, Metric] = {
    "test_accuracy": Metric("test accuracy", "%", "evaluation", worst=0.0),
    "macro_f1": Metric("test macro-F1", "%", "evaluation", worst=0.0),
    "test_cross_entropy": Metric("test cross-entropy", "nats", "evaluation", lower_is_better=True, worst=math.inf),
    "calibration_error": Metric("expected calibration error", "%", "evaluation", lower_is_better=True, worst=1.0),
    "f1_gap": Metric("test accuracy minus test macro-F1", "points", "evaluation", lower_is_better=True),
    "train_accuracy": Metric("training accuracy", "%", "history", worst=0.0),
    "train_loss": Metric("training loss", "nats", "history", lower_is_better=True, worst=math.inf),
    "validation_accuracy": Metric("validation accuracy", "%", "history", worst=0.0),
    "validation_loss": Metric("validation loss", "nats", "history", lower_is_better=True, worst=math.inf),
    "accuracy_gap": Metric("training minus validation accuracy", "points", "history", lower_is_better=True),
    "gap_size": Metric("distance of training and validation accuracy", "points", "history", lower_is_better=True),
    "loss_rise": Metric("rise of the validation loss after its lowest epoch", "nats", "history", lower_is_better=True),
    "best_epoch": Metric("epoch of the lowest validation loss", "", "history"),
    "epochs_to_90": Metric("epochs to 90 % of the final validation accuracy", "", "history", lower_is_better=True),
    "validation_jitter": Metric(
        "change of the validation accuracy from epoch to epoch", "points", "history", lower_is_better=True
    ),
    "epochs": Metric("epochs", "", "outcome"),
    "seconds": Metric("training time", "s", "outcome", lower_is_better=True),
    "seconds_per_epoch": Metric("time per epoch", "s", "history", lower_is_better=True),
    "parameters": Metric("parameters", "", "outcome", lower_is_better=True),
    "peak_memory": Metric("peak memory", "MiB", "outcome", lower_is_better=True),
    "strong_noise_accuracy": Metric("accuracy, mean over σ ≥ 0.3", "%", "robustness", worst=0.0),
    **{
        f"gradient_{which}_{moment}": Metric(f"{label}, {when}", "decades", "gradients")
        for moment, when in (("initial", "at initialisation"), ("trained", "after training"))
        for which, label in (
            ("first", "gradient norm of the first weight matrix"),
            ("middle", "median gradient norm of the hidden weight matrices"),
            ("last", "gradient norm of the last weight matrix"),
            ("decay", "gradient norm of the first hidden weight matrix over that of the last"),
            ("spread", "largest gradient norm of a hidden weight matrix over the smallest"),
            ("peaks", "smaller gradient norm of first and last weight matrix over the largest between"),
        )
    },
}
"""Metrics by name, besides `noise_accuracy_<sigma>`.

Training and validation metrics are those of the epoch whose weights were kept. A network whose validation accuracy
ends near guessing has no `epochs_to_90`. The calibration error has fifteen bins of equal width. Hidden weight matrices
are all but the first and the last: the first one's gradient holds the size of the image, the last one's that of the
error."""

ALWAYS_KNOWN = frozenset(name for name, metric in METRICS.items() if metric.file == "outcome")
"""Metrics that a diverged run has as well."""

NEAR_GUESSING = 0.05
"""A network whose accuracy is less than this above guessing has learnt nothing."""

STRONG_NOISE = 0.3
"""The least standard deviation of the noise that `strong_noise_accuracy` is a mean over."""
NOISE_METRIC = re.compile(r"noise_accuracy_(\d+\.\d)")


def known(name: str) -> bool:
    """Whether there is such a metric."""
    return name in METRICS or NOISE_METRIC.fullmatch(name) is not None


def get(name: str) -> Metric:
    """The metric of a name; KeyError where there is none.

    >>> get("noise_accuracy_0.1").label, get("test_accuracy").unit
    ('accuracy at σ = 0.1', '%')
    """
    if noise := NOISE_METRIC.fullmatch(name):
        return Metric(f"accuracy at σ = {noise[1]}", "%", "robustness", worst=0.0)
    return METRICS[name]


def at_levels(name: str, sigmas: Collection[float]) -> bool:
    """Whether a metric of the file `robustness` is measured where these are the levels of noise.

    >>> at_levels("noise_accuracy_0.7", [0.0, 0.5]), at_levels("strong_noise_accuracy", [0.0, 0.5])
    (False, True)
    """
    if noise := NOISE_METRIC.fullmatch(name):
        return float(noise[1]) in sigmas
    return any(sigma >= STRONG_NOISE for sigma in sigmas)
