"""What a few seeds tell about the means of runs: draws from their distribution.

The values of R runs with seed s are one vector x_s, normal with mean mu and covariance Sigma. A few seeds say little
about Sigma. But variances of the runs of one study are alike, so each run borrows from the others. Smyth (2004) fits a
scaled inverse chi-squared distribution with d0 degrees of freedom around s0^2 to the variances of all runs; Tai and
Speed (2006) use it for vectors. With n seeds, sample covariance S and d = n - 1::

    Sigma | x ~ inverse Wishart around (d0 s0^2 I + d S) / (d0 + d), with d0 + d degrees of freedom
    mu | Sigma, x ~ N(mean of x, Sigma / n)

so that every mean, and every difference of means, has Student's distribution with d0 + d degrees of freedom and a
*moderated* variance. A run whose variance is far beyond its siblings', such as a network that learns with some seeds
only, is believed alone: Student's distribution with n - 1 degrees of freedom and its own variance.

Scores on test images have another source of chance, the images (`mlpaper.study.sampling`).

References
----------
G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
Statistical Applications in Genetics and Molecular Biology 3 (2004), sections 3 and 6.2.
Y. C. Tai and T. P. Speed, A multivariate empirical Bayes statistic for replicated microarray time course data, Annals
of Statistics 34 (2006), section 3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 4000
MOST_FREEDOM = 4.0
"""Degrees of freedom that siblings lend at most, however alike their variances are."""
FEW = 5
"""Runs with two seeds or more below which d0 is not estimated from their variances."""
FREEDOM_OF_FEW = 2.0
WILD = 0.99
"""A run is believed alone if its variance is above this quantile of what its siblings suggest."""
FREEDOM_AT_FIRST = 4.0
"""d0 with which wild runs are looked for before it is estimated."""
CAUTION = 1.0
"""Standard errors by which the spread of log variances is taken larger than it looks: d0 is rather too small."""
LEAST_VARIANCE = 0.01
"""Of the median variance: what a smaller one counts as where d0 is estimated. Networks that all fail have none."""


@dataclass(frozen=True)
class Prior:
    """What variances of seeds the runs of a study have: scaled inverse chi-squared."""

    freedom: float
    """d0; zero where nothing is known."""
    variance: float
    """s0^2."""


NOTHING = Prior(0.0, 0.0)


def fit_prior(variances: Sequence[float], freedoms: Sequence[int]) -> Prior:
    """d0 and s0^2 from the variances of runs and their degrees of freedom, by Smyth's moments of log variances.

    Wild runs are left out and the rest fitted again. Without any run of two seeds there is no prior.
    """
    s2, d = np.asarray(variances, dtype=float), np.asarray(freedoms, dtype=float)
    s2, d = s2[d > 0], d[d > 0]
    if not len(s2):
        return NOTHING
    tame = ~_wild(s2, d, Prior(FREEDOM_AT_FIRST, float(np.median(s2))))
    for _ in range(4):
        prior = _moments(s2[tame], d[tame])
        before, tame = tame, ~_wild(s2, d, prior)
        if (tame == before).all():
            break
    return prior


def _moments(s2: Array, d: Array) -> Prior:
    if not s2.any():
        return Prior(MOST_FREEDOM, 0.0)
    if len(s2) < FEW:
        return Prior(FREEDOM_OF_FEW, float(np.average(s2, weights=d)))
    from scipy.special import digamma, polygamma

    floored = np.maximum(s2, LEAST_VARIANCE * np.median(s2[s2 > 0]))
    e = np.log(floored) - digamma(d / 2) + np.log(d / 2)
    total = float(np.var(e, ddof=1))
    spread = total * (1 + CAUTION * np.sqrt(2 / (len(e) - 1))) - float(np.mean(polygamma(1, d / 2)))
    freedom = MOST_FREEDOM if spread <= 0 else min(2 * _inverse_trigamma(spread), MOST_FREEDOM)
    variance = float(np.exp(e.mean() + digamma(freedom / 2) - np.log(freedom / 2)))
    return Prior(freedom, variance)


def _inverse_trigamma(y: float) -> float:
    """x with trigamma(x) = y > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(polygamma(1, x))
        step = value * (1 - value / y) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def _wild(s2: Array, d: Array, prior: Prior) -> NDArray[np.bool_]:
    if not prior.freedom or not prior.variance:
        return np.zeros(len(s2), dtype=bool)
    from scipy.special import fdtri

    far: NDArray[np.bool_] = s2 > prior.variance * fdtri(np.maximum(d, 1), prior.freedom, WILD)
    return far


def generator(*names: str) -> np.random.Generator:
    """A generator that depends on these names alone."""
    key = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], dtype=np.uint64)))


def known(seeds: int, prior: Prior) -> bool:
    """Whether anything is known of the variance between seeds."""
    return prior.freedom + seeds > 1


def draw_means(
    values: Array, prior: Prior, random: np.random.Generator, *, one_more: bool = False, draws: int = DRAWS
) -> Array:
    """Draw the means of runs from their distribution given some seeds: float64 (draws, R).

    Where nothing is known of the variance between seeds, every draw is the mean of the seeds.

    Parameters
    ----------
    values
        (n seeds, R runs), finite.
    one_more
        Draw what one more seed would give, of variance (1 + 1/n) Sigma, in place of the mean, of Sigma / n.
    """
    n, runs = values.shape
    drawn = np.broadcast_to(values.mean(axis=0), (draws, runs)).copy()
    for some, root, freedom in _blocks(values, prior, 1 / n + one_more):
        drawn[:, some] += (
            _student(random, freedom, draws)[:, None] * random.standard_normal((draws, len(root))) @ root.T
        )
    return drawn


@dataclass(frozen=True)
class Population:
    """What means the runs of a study have: normal."""

    mean: float
    variance: float


def fit_population(values: Sequence[Sequence[float]]) -> Population | None:
    """The population of the runs' means, from their values by seed; None of a few runs, or where none has two seeds.

    Its variance is that of the means, less what the seeds contribute.
    """
    errors = [float(np.var(of_run, ddof=1)) / len(of_run) for of_run in values if len(of_run) > 1]
    if len(values) < FEW or not errors:
        return None
    means = [float(np.mean(of_run)) for of_run in values]
    return Population(float(np.mean(means)), max(float(np.var(means, ddof=1)) - float(np.mean(errors)), 0.0))


def draw_seeds(
    values: Array, prior: Prior, population: Population | None, random: np.random.Generator, *, more: int, draws: int
) -> Array:
    """Draw what `more` seeds would give, float64 (draws, more, R): those of one draw have one mean and covariance.

    Where nothing is known of the variance between seeds, all are the mean of the seeds. Means far from the others are
    so partly by chance: a `population` of variance t^2 moves them towards its mean, by (t^2 I + Sigma / n)^-1 Sigma / n
    of the way; but not those of runs that are believed alone. `values` are (n seeds, R runs).
    """
    n, runs = values.shape
    drawn = np.broadcast_to(values.mean(axis=0), (draws, more, runs)).copy()
    for some, root, freedom in _blocks(values, prior):
        spread = _student(random, freedom, draws)[:, None, None]
        error = root @ root.T / n
        if population is not None and freedom > n - 1:
            apart = population.variance * np.eye(len(root))
            kept = np.linalg.solve(apart + error, apart)
            drawn[:, :, some] = population.mean + (values[:, some].mean(axis=0) - population.mean) @ kept
            error = kept @ error
        of_mean = random.standard_normal((draws, 1, len(root))) @ square_root(error).T
        drawn[:, :, some] += spread * (of_mean + random.standard_normal((draws, more, len(root))) @ root.T)
    return drawn


def _blocks(values: Array, prior: Prior, share: float = 1.0) -> Iterator[tuple[NDArray[np.intp], Array, float]]:
    """Runs that vary together, a root of a `share` of the covariance of one seed's values, and degrees of freedom."""
    n = len(values)
    if not known(n, prior):
        return
    centred = values - values.mean(axis=0)
    alone = _alone(centred, prior)
    if not alone.all():
        freedom = prior.freedom + n - 1
        yield np.flatnonzero(~alone), square_root(_scale(centred[:, ~alone], prior) / freedom * share), freedom
    for run in np.flatnonzero(alone):
        deviation = np.sqrt((centred[:, run] ** 2).sum() / (n - 1) * share)
        yield np.array([run]), np.array([[deviation]]), n - 1


def draw_covariances(values: Array, prior: Prior, random: np.random.Generator, draws: int = DRAWS) -> Array:
    """Draw the covariance of one seed's values, float64 (draws, R, R): Bartlett's decomposition of a Wishart matrix."""
    n, p = values.shape
    root = square_root(_scale(values - values.mean(axis=0), prior))
    lower = np.tril(random.standard_normal((draws, p, p)), -1)
    degrees = prior.freedom + n - 1 + p - 1 - np.arange(p)
    lower[:, np.arange(p), np.arange(p)] = np.sqrt(random.chisquare(degrees, (draws, p)))
    # lower lower' is Wishart; with scale = root root', Sigma = root (lower lower')^-1 root'
    factor = root @ np.linalg.inv(lower).transpose(0, 2, 1)
    drawn: Array = factor @ factor.transpose(0, 2, 1)
    return drawn


def _alone(centred: Array, prior: Prior) -> NDArray[np.bool_]:
    """Runs that are believed alone."""
    n, runs = centred.shape
    if not prior.freedom:
        return np.ones(runs, dtype=bool)
    if n == 1:
        return np.zeros(runs, dtype=bool)
    return _wild((centred**2).sum(axis=0) / (n - 1), np.full(runs, n - 1.0), prior)


def _scale(centred: Array, prior: Prior) -> Array:
    """d0 s0^2 I + d S."""
    scale: Array = prior.freedom * prior.variance * np.eye(centred.shape[1]) + centred.T @ centred
    return scale


def _student(random: np.random.Generator, freedom: float, draws: int) -> Array:
    """What a normal number is multiplied by to have Student's distribution."""
    return np.sqrt(freedom / random.chisquare(freedom, draws))


def square_root(matrix: Array) -> Array:
    """A square root R with R R' = matrix, which may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
