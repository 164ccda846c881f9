"""By how much one way to begin is better than another: differences, their uncertainty, and how many were looked at.

Scores of the same test cases, from runs that differ in nothing but their beginning, are subtracted one by one. The
mean of these differences would be another with other cases, and with other seeds, which draw the labelled cases, the
new weights and the samples. Both are resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Table = npt.NDArray[np.float64]
"""(seeds, cases) float64."""


@dataclass(frozen=True)
class Interval:
    """A mean difference and how sure it is."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, of no difference."""
    freedom: float
    """Degrees of freedom: few where most of the spread is between few seeds."""


def paired_difference(scores: Sequence[Mapping[str, float]], baseline: Sequence[Mapping[str, float]]) -> Table:
    """Return by how much each score is above that of the same case and seed.

    Parameters
    ----------
    scores, baseline : sequence of mapping
        One for each seed, in the same order: from a case to its score.

    Returns
    -------
    differences : (seeds, cases) float64
        Cases in the order of their names.

    Raises
    ------
    ValueError
        If there is not one for each, or a score is missing or not finite.

    Examples
    --------
    >>> paired_difference([{"a": 0.75, "b": 0.5}], [{"b": 0.25, "a": 0.5}])
    array([[0.25, 0.25]])
    """
    if not scores or len(scores) != len(baseline):
        raise ValueError(f"expected as many seeds on both sides, got {len(scores)} and {len(baseline)}")
    cases = sorted(baseline[0])
    for one in (*scores, *baseline):
        if strange := set(one) ^ set(cases):
            raise ValueError(f"expected the same cases scored with every seed, {min(strange)} is not in all of them")
    above, below = (
        np.array([[one[case] for case in cases] for one in side], np.float64) for side in (scores, baseline)
    )
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("expected finite scores, got NaN or infinity")
    return np.asarray(above - below)


def bootstrap_interval(
    differences: npt.ArrayLike, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean difference with its interval and p, for other cases and other seeds.

    Cases and seeds are resampled independently of each other (Owen 2007, Ann. Appl. Stat. 1:386), of n always n - 1,
    which takes away the bias that matters with few seeds (Rao and Wu 1988, J. Am. Stat. Assoc. 83:231). The spread of
    the means is the standard error; the interval is Student's, with degrees of freedom after Satterthwaite (1946,
    Biometrics Bull. 2:110). Percentiles of the same resamples would not do: of three seeds that differ alone by chance,
    they say 95 % and hold 80 %.

    Parameters
    ----------
    differences : (seeds, cases) float
    level : float
        Of the interval.
    resamples : int
    seed : int
        Of the resampling.

    Returns
    -------
    Interval
        With a single seed, or a single case, only the other is resampled, and the interval says nothing of it.

    Raises
    ------
    ValueError
        If there is one of each, or none.

    Examples
    --------
    >>> found = bootstrap_interval([[0.1, 0.3, 0.2], [0.2, 0.2, 0.2]])
    >>> round(found.mean, 3), found.low < 0.2 < found.high
    (0.2, True)
    """
    table = np.asarray(differences, np.float64)
    if table.ndim != 2 or table.size < 2:
        raise ValueError(f"expected differences of several cases or seeds, (seeds, cases), got the shape {table.shape}")
    mean = float(table.mean())
    parts = [(_mean_variance(table.mean(1 - axis)), n - 1) for axis, n in enumerate(table.shape) if n > 1]
    whole = sum(part for part, _ in parts)
    draws = np.random.default_rng(seed)
    rows, columns = (_draw_weights(draws, n, resamples) for n in table.shape)
    error = float(np.einsum("bs,sn,bn->b", rows, table, columns, optimize=True).std(ddof=1))
    # Equal differences differ in their last bits when they are summed in another order.
    if whole == 0 or error <= 1e-12 * np.abs(table).max():
        return Interval(mean, mean, mean, 1.0 if mean == 0 else 0.0, float("inf"))
    freedom = whole**2 / sum(part**2 / free for part, free in parts)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Interval(mean, mean - reach, mean + reach, p, float(freedom))


def _mean_variance(values: Table) -> float:
    """Return the variance of the mean of independent values."""
    return float(values.var(ddof=1) / len(values))


def _draw_weights(draws: np.random.Generator, count: int, resamples: int) -> Table:
    """Draw how much each of `count` weighs: (resamples, count), rows with a sum of 1."""
    drawn = max(1, count - 1)
    return np.asarray(draws.multinomial(drawn, np.full(count, 1 / count), resamples) / drawn)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values raised so that the chance of a single false one among them is kept (Holm 1979).

    Parameters
    ----------
    p : sequence of float

    Returns
    -------
    raised : list of float
        In the same order, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    raised, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        raised[place] = highest
    return raised
