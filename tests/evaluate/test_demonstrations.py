"""What the paper's theory shows beside its formulas."""

import numpy as np
import pytest

from mlpaper.engine.ops.reference import Ops
from mlpaper.evaluate import demonstrations as shown


def test_gradients_agree_with_differences_and_softmax_survives_large_logits() -> None:
    assert shown.cross_entropy_gradient_error() < 1e-8
    assert shown.batch_norm_gradient_error() < 1e-8
    naive, stable = shown.softmax_of_large_logits()
    assert np.isnan(naive).all()
    shifted = np.exp(np.array(shown.LARGE) - max(shown.LARGE))
    np.testing.assert_allclose(stable, shifted / shifted.sum(), rtol=1e-12)


def test_a_wrong_gradient_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Ops.batch_norm_backward

    def without_the_means(self, normal, variance, gamma, epsilon, dy, dgamma, dbeta, dx) -> None:
        right(self, normal, variance, gamma, epsilon, dy, dgamma, dbeta, dx)
        np.multiply(dy, gamma / np.sqrt(variance + epsilon), out=dx)

    monkeypatch.setattr(Ops, "batch_norm_backward", without_the_means)
    assert shown.batch_norm_gradient_error() > 0.1
