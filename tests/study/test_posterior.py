"""Draws of means against Student's distribution, and verdicts of simulated studies against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlpaper.study.posterior import (
    MOST_FREEDOM,
    NOTHING,
    Population,
    Prior,
    draw_covariances,
    draw_means,
    draw_seeds,
    fit_population,
    fit_prior,
    generator,
    known,
)

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
MANY = 100_000


def values(seeds: int, runs: int) -> np.ndarray:
    return generator("values").normal(size=(seeds, runs))


@pytest.mark.parametrize("contrast", [(1, 0, 0, 0), (1, -1, 0, 0), (1, -1, -1, 1)])
@pytest.mark.parametrize("one_more", [False, True])
def test_every_contrast_has_students_distribution(contrast: tuple[int, ...], one_more: bool) -> None:
    x, c, prior = values(3, 4), np.array(contrast), Prior(4.0, 1.0)
    drawn = draw_means(x, prior, generator("a"), one_more=one_more, draws=MANY) @ c
    centred = x - x.mean(axis=0)
    variance = c @ (4 * np.eye(4) + centred.T @ centred) @ c / 6 * (1 / 3 + one_more)
    expected = x.mean(axis=0) @ c + stats.t.ppf(QUANTILES, 6) * np.sqrt(variance)
    np.testing.assert_allclose(np.quantile(drawn, QUANTILES), expected, atol=0.02 * np.sqrt(variance) * 3)


def test_variances_of_contrasts_are_scaled_inverse_chi_squared() -> None:
    x, c = values(3, 2), np.array([1, -1])
    drawn = np.einsum("i,dij,j->d", c, draw_covariances(x, Prior(4.0, 1.0), generator("a"), MANY), c)
    centred = x - x.mean(axis=0)
    scale = c @ (4 * np.eye(2) + centred.T @ centred) @ c
    expected = scale / stats.chi2.ppf((0.95, 0.5, 0.05), 6)
    np.testing.assert_allclose(np.quantile(drawn, (0.05, 0.5, 0.95)), expected, rtol=0.03)


def test_a_run_with_one_seed_borrows_and_without_siblings_has_no_chance() -> None:
    one = np.array([[0.5, 0.7]])
    assert known(1, Prior(4.0, 0.01))
    assert not known(1, NOTHING)
    assert np.all(draw_means(one, NOTHING, generator("a")) == one)
    spread = draw_means(one, Prior(4.0, 0.01), generator("a"), draws=MANY)[:, 0]
    np.testing.assert_allclose(np.quantile(spread, QUANTILES), 0.5 + 0.1 * stats.t.ppf(QUANTILES, 4), atol=0.01)


def test_a_wild_run_is_believed_alone() -> None:
    x = np.column_stack([(10.0, 10.1, 79.0), (94.0, 94.2, 93.9)])
    drawn = draw_means(x, Prior(4.0, 0.04), generator("a"), draws=MANY)
    width = np.ptp(np.quantile(drawn, (0.025, 0.975), axis=0), axis=0)
    assert width[0] == pytest.approx(2 * stats.t.ppf(0.975, 2) * np.std(x[:, 0], ddof=1) / np.sqrt(3), rel=0.03)
    assert width[1] < 0.6


def test_the_prior_of_variances() -> None:
    random = generator("prior")
    assert fit_prior([], []) == NOTHING
    assert fit_prior([0.0, 0.0], [2, 2]) == Prior(MOST_FREEDOM, 0.0), "what no seed changes"
    alike = fit_prior(list(0.5 * random.chisquare(9, 40) / 9), [9] * 40)
    assert alike.freedom == MOST_FREEDOM
    assert alike.variance == pytest.approx(0.5, rel=0.25)
    unlike = fit_prior(list(np.exp(2 * random.normal(size=40))), [9] * 40)
    assert unlike.freedom < 1.5
    wild = fit_prior([*(0.5 * random.chisquare(2, 20) / 2), 4000.0], [2] * 21)
    assert wild.variance < 2, "a wild run is left out"


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("unequal", [False, True])
def test_of_verdicts_with_95_percent_few_are_wrong(seeds: int, unequal: bool) -> None:
    """Simulated studies of twenty runs; `benchmarks/calibration.py` does so for every rule."""
    random = generator("calibration", str(seeds), str(unequal))
    decided = wrong = 0
    for _ in range(400):
        truth = random.normal(size=20) * random.choice([0.3, 1.0, 3.0])
        spread = np.exp(0.5 * random.normal(size=20)) if unequal else np.ones(20)
        x = truth + spread * random.normal(size=(seeds, 20))
        prior = fit_prior(list(x.var(axis=0, ddof=1)), [seeds - 1] * 20)
        means = draw_means(x[:, :2], prior, random, draws=1000)
        probability = float((means[:, 0] > means[:, 1]).mean())
        if not 0.05 < probability < 0.95:
            decided += 1
            wrong += (probability > 0.5) != (truth[0] > truth[1])
    assert decided > 120
    assert stats.binomtest(wrong, decided, 0.05, alternative="greater").pvalue > 0.01


def test_more_seeds_have_the_means_that_are_believed() -> None:
    """The mean of very many more seeds is a draw of the mean, the first of them one more seed; a wild run is alone."""
    x, prior = values(3, 4), Prior(3.0, 1.0)
    x[:, 3] *= 50
    seeds = draw_seeds(x, prior, None, generator("more"), more=400, draws=8000)
    quantiles = (0.05, 0.25, 0.75, 0.95)
    for drawn, one_more in ((seeds.mean(axis=1), False), (seeds[:, 0], True)):
        means = draw_means(x, prior, generator("means"), one_more=one_more, draws=8000)
        scale = np.ptp(np.quantile(means, (0.25, 0.75), axis=0), axis=0)
        both = (np.quantile(each, quantiles, axis=0) for each in (drawn, means))
        assert np.abs(np.subtract(*both) / scale).max() < 0.25


def test_a_population_moves_means_as_far_as_they_are_uncertain() -> None:
    x = values(4, 2)
    prior = Prior(MOST_FREEDOM, 1.0)
    alone, none, wide = (
        draw_seeds(x, prior, population, generator("p"), more=400, draws=4000).mean(axis=(0, 1))
        for population in (None, Population(5.0, 0.0), Population(5.0, 1e6))
    )
    assert alone == pytest.approx(x.mean(axis=0), abs=0.05)
    assert wide == pytest.approx(alone, abs=0.01)
    assert none == pytest.approx([5.0, 5.0], abs=0.05)
    means = generator("means").normal(3.0, 2.0, size=(400, 1))
    found = fit_population((means + generator("seeds").normal(size=(400, 2))).tolist())
    assert found is not None
    assert (found.mean, found.variance) == (pytest.approx(means.mean(), abs=0.1), pytest.approx(means.var(), abs=0.4))
    assert fit_population([[1.0], [2.0]] * 5) is None, "no run has two seeds"
