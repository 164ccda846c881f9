"""Ridge regression, with a given penalty or with one chosen by leave-one-out validation.

`train.linear.regression` chooses the penalty by cross-validation over subjects, whose cases are alike. The few labelled
cases of a linear probe are drawn one by one, so that leave-one-out validation serves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.linear_model import RidgeCV

Array = npt.NDArray[np.float64]

PENALTIES = np.logspace(-6, 2, 17)
"""Penalties of leave-one-out validation, relative to the total variance of the features times their number."""


def fit_ridge(features: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Fit a ridge regression.

    Parameters
    ----------
    features, targets : (N, M), (N, K) float64
    penalty : float
        Relative to the number of cases.

    Returns
    -------
    weight, offset : (K, M), (K,) float64

    Examples
    --------
    >>> weight, offset = fit_ridge(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]), 1e-9)
    >>> weight.round(3).tolist(), offset.round(3).tolist()
    ([[2.0]], [1.0])
    """
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=penalty * len(features)).fit(features, targets)
    return np.reshape(found.coef_, (targets.shape[1], -1)), np.reshape(found.intercept_, -1)


def fit_ridge_cv(features: Array, targets: Array) -> RidgeCV:
    """Fit a ridge regression whose penalty has the lowest squared error of leave-one-out validation.

    Parameters
    ----------
    features, targets : (N, M), (N, K) float64

    Examples
    --------
    >>> features = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ridge = fit_ridge_cv(features, np.hstack([1 + 2 * features, -features]))
    >>> ridge.coef_.round(3).tolist(), (ridge.intercept_.round(3) + 0.0).tolist()
    ([[2.0], [-1.0]], [1.0, 0.0])
    """
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=PENALTIES * _scatter(features)).fit(features, targets)


def average_weights(known: Array, asked: Array, targets: npt.NDArray[np.float32]) -> Array:
    """Return the weights (M, N) of centred targets that `fit_ridge_cv` predicts with, for targets such as masks.

    A mask has more voxels than there are cases, so that the weights of the cases are fewer than those of the features.

    Parameters
    ----------
    known : (N, C) float64
        Features of the labelled cases.
    asked : (M, C) float64
    targets : (N, ...) float32
        With a mean of 0 over N.

    Examples
    --------
    >>> targets = np.array([[-1.0], [0.0], [1.0]], np.float32)
    >>> weights = average_weights(np.array([[0.0], [1.0], [2.0]]), np.array([[3.0]]), targets)
    >>> float((weights @ targets)[0, 0].round(3))
    2.0
    """
    count, flat = len(known), targets.reshape(len(targets), -1)
    if count < 2:
        return np.zeros((len(asked), count))
    centred, products = known - known.mean(0), np.asarray(flat @ flat.T, np.float64)
    gram = centred @ centred.T
    errors = {}
    for penalty in PENALTIES * _scatter(known):
        hat = gram @ np.linalg.inv(gram + penalty * np.eye(count)) + 1 / count
        rest = (np.eye(count) - hat) / (1 - np.diag(hat))[:, None]
        errors[penalty] = float(np.trace(rest @ products @ rest.T))
    best = min(errors, key=lambda penalty: errors[penalty])
    cross = (asked - known.mean(0)) @ centred.T
    return np.asarray(cross @ np.linalg.inv(gram + best * np.eye(count)))


def _scatter(features: Array) -> float:
    """Return the sum of squares of the centred features; 1 if they are constant."""
    return float(np.square(features - features.mean(0)).sum()) or 1.0
