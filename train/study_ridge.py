"""Ridge regression, its penalty chosen by leaving each case out in turn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_PENALTIES = np.logspace(-6, 2, 17)
"""To choose from, as shares of the features' whole spread."""


def fit_ridge(features: Numbers, targets: Numbers) -> tuple[Numbers, Numbers]:
    """Return what maps features to targets; of `_PENALTIES` by the best for cases left out.

    Parameters
    ----------
    features, targets : (N, C), (N, K) float64

    Returns
    -------
    weights, offset : (C, K), (K,) float64

    Examples
    --------
    >>> weights, offset = fit_ridge(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[1.0], [3.0], [5.0], [7.0]]))
    >>> weights.round(3).tolist(), offset.round(3).tolist()
    ([[2.0]], [1.0])
    """
    mean, middle = features.mean(0), targets.mean(0)
    left, sizes, right = np.linalg.svd(features - mean, full_matrices=False)
    projected = left.T @ (targets - middle)
    best, weights = math.inf, np.zeros((features.shape[1], targets.shape[1]))
    for penalty in _PENALTIES * np.square(sizes).sum():
        shrinkage = sizes**2 / (sizes**2 + penalty)
        missed = targets - middle - left @ (shrinkage[:, None] * projected)
        # The share of a fitted value that is due to its own case: without it the case would be missed by so much more.
        own = left**2 @ shrinkage + 1 / len(features)
        error = float(np.square(missed / np.maximum(1 - own, 1e-9)[:, None]).sum())
        if error < best:
            best, weights = error, right.T @ ((sizes / (sizes**2 + penalty))[:, None] * projected)
    return weights, middle - mean @ weights
