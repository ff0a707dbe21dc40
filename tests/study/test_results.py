"""Metrics of a run, against values worked out by hand."""

from typing import Any

import numpy as np
import pytest

from mlpaper.study.metrics import METRICS, get, known
from mlpaper.study.results import gradient_metrics, history_metrics, noise_metrics


def history(loss: list[float], accuracy: list[float]) -> dict[str, list[float]]:
    epochs = list(range(1, len(loss) + 1))
    return {
        "epoch": epochs,
        "train_loss": [0.5 for _ in epochs],
        "train_accuracy": [0.9 + 0.01 * epoch for epoch in epochs],
        "validation_loss": loss,
        "validation_accuracy": accuracy,
        "seconds": [2.0 * epoch for epoch in epochs],
    }


def gradients(rows: list[tuple[str, int, float]]) -> dict[str, list[Any]]:
    return dict(zip(("moment", "layer", "norm"), map(list, zip(*rows, strict=True)), strict=True))


def test_metrics_of_a_history() -> None:
    found = history_metrics(history([1.0, 0.6, 0.5, 0.7], [0.3, 0.73, 0.78, 0.8]), kept=2, guess=0.1)
    assert found == pytest.approx(
        {
            "train_accuracy": 0.93,
            "train_loss": 0.5,
            "validation_accuracy": 0.78,
            "validation_loss": 0.5,
            "accuracy_gap": 0.15,
            "gap_size": 0.15,
            "best_epoch": 3,
            "loss_rise": 0.2,
            "epochs_to_90": 2,
            "seconds_per_epoch": 5.0,
            "validation_jitter": 0.02,
        }
    )


def test_a_history_of_one_epoch_has_no_jitter() -> None:
    found = history_metrics(history([1.0], [0.3]), kept=0, guess=0.1)
    assert "validation_jitter" not in found
    assert (found["best_epoch"], found["epochs_to_90"], found["loss_rise"]) == (1, 1, 0)


def test_a_network_that_ends_near_guessing_has_converged_to_nothing() -> None:
    stuck = history([2.3, 2.3], [0.1, 0.14])
    assert "epochs_to_90" not in history_metrics(stuck, kept=1, guess=0.1)
    assert history_metrics(stuck, kept=1, guess=0.09)["epochs_to_90"] == 2


def test_metrics_of_gradients_are_decades() -> None:
    norms = {"initialisation": [1e3, 1e-4, 1e-2, 1e-3, 1e-1], "trained": [0.0, 0.0, 0.0, 0.0, 1.0]}
    rows = [(moment, layer, norm) for moment, of in norms.items() for layer, norm in enumerate(of)]
    found = gradient_metrics(gradients(rows))
    assert found["gradient_first_initial"] == pytest.approx(3)
    assert found["gradient_middle_initial"] == pytest.approx(-3)
    assert found["gradient_decay_initial"] == pytest.approx(-4 - -3), "of hidden matrices: not of the image's"
    assert found["gradient_spread_initial"] == pytest.approx(-2 - -4)
    assert found["gradient_peaks_initial"] == pytest.approx(-1 - -2)
    assert found["gradient_first_trained"] == pytest.approx(-30), "zero has the least logarithm there is"


def test_two_matrices_have_none_between_and_one_between_has_no_decay() -> None:
    rows = [("initialisation", layer, 0.1) for layer in range(3)]
    found = gradient_metrics(gradients(rows))
    assert "gradient_middle_initial" in found
    assert found.keys().isdisjoint({"gradient_decay_initial", "gradient_spread_initial"})


def test_a_diverged_run_has_no_gradients_after() -> None:
    rows = [("initialisation", 0, 0.1), ("initialisation", 1, 1.0), ("trained", 0, np.nan), ("trained", 1, np.nan)]
    found = gradient_metrics(gradients(rows))
    assert found.keys() == {"gradient_first_initial", "gradient_last_initial"}


def test_metrics_under_noise_are_means_over_noise_seeds() -> None:
    rows = {"sigma": [0.1, 0.3, 0.5, 0.1, 0.3, 0.5], "accuracy": [0.9, 0.6, 0.4, 0.7, 0.8, 0.2]}
    assert noise_metrics(rows) == pytest.approx(
        {"noise_accuracy_0.1": 0.8, "noise_accuracy_0.3": 0.7, "noise_accuracy_0.5": 0.3, "strong_noise_accuracy": 0.5}
    )
    assert noise_metrics({"sigma": [], "accuracy": []}) == {}


def test_every_metric_is_known_by_its_name() -> None:
    assert all(known(name) and get(name) is metric for name, metric in METRICS.items())
    assert known("noise_accuracy_0.3")
    assert not known("noise_accuracy_0.35")
    with pytest.raises(KeyError):
        get("accuracy")
