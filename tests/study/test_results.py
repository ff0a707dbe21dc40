"""Metrics of a run, against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from mlpaper.study.metrics import METRICS, get, known
from mlpaper.study.results import gradient_metrics, history_metrics


def history(loss: list[float], accuracy: list[float]) -> pd.DataFrame:
    epochs = np.arange(1, len(loss) + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 0.5,
            "train_accuracy": 0.9 + 0.01 * epochs,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "seconds": 2.0 * epochs,
        }
    )


def test_metrics_of_a_history() -> None:
    found = history_metrics(history([1.0, 0.6, 0.5, 0.7], [0.3, 0.73, 0.78, 0.8]), kept=2)
    assert found == pytest.approx(
        {
            "train_accuracy": 0.93,
            "train_loss": 0.5,
            "validation_accuracy": 0.78,
            "validation_loss": 0.5,
            "accuracy_gap": 0.15,
            "best_epoch": 3,
            "loss_rise": 0.2,
            "epochs_to_90": 2,
            "seconds_per_epoch": 5.0,
            "validation_jitter": 0.02,
        }
    )


def test_a_history_of_one_epoch_has_no_jitter() -> None:
    found = history_metrics(history([1.0], [0.3]), kept=0)
    assert "validation_jitter" not in found
    assert (found["best_epoch"], found["epochs_to_90"], found["loss_rise"]) == (1, 1, 0)


def test_metrics_of_gradients_are_decades() -> None:
    norms = {"initialisation": [1e-4, 1e-2, 1e-3, 1e-1], "trained": [0.0, 0.0, 0.0, 1.0]}
    rows = [(moment, layer, norm) for moment, of in norms.items() for layer, norm in enumerate(of)]
    found = gradient_metrics(pd.DataFrame(rows, columns=["moment", "layer", "norm"]))
    assert found["gradient_first_initial"] == pytest.approx(-4)
    assert found["gradient_middle_initial"] == pytest.approx(-2.5)
    assert found["gradient_decay_initial"] == pytest.approx(-3)
    assert found["gradient_peaks_initial"] == pytest.approx(-4 - -2)
    assert found["gradient_first_trained"] == pytest.approx(-30), "zero has the least logarithm there is"


def test_two_matrices_have_none_between_and_a_diverged_run_none_after() -> None:
    rows = [("initialisation", 0, 0.1), ("initialisation", 1, 1.0), ("trained", 0, np.nan), ("trained", 1, np.nan)]
    found = gradient_metrics(pd.DataFrame(rows, columns=["moment", "layer", "norm"]))
    assert found.keys() == {"gradient_first_initial", "gradient_last_initial", "gradient_decay_initial"}


def test_every_metric_is_known_by_its_name() -> None:
    assert all(known(name) and get(name) is metric for name, metric in METRICS.items())
    assert known("noise_accuracy_0.3")
    assert not known("noise_accuracy_0.35")
    with pytest.raises(KeyError):
        get("accuracy")
