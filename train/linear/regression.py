"""Logistic and ridge regression, with a penalty chosen by cross-validation over subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .ridge import Array, fit_ridge

Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Rows to fit, and rows to measure."""

FOLDS = 5
PENALTIES = tuple(float(f"1e{power}") for power in range(-5, 3))
"""Penalties to choose from, relative to the number of cases."""

_ITERATIONS = 5000
_NEVER = -1e3
"""Output of an impossible class."""


class Regression:
    """A linear regression of targets (N, K) on features (N, M).

    Parameters
    ----------
    fit : function of (N, M), (N, K) and a penalty
        Returns weights (K, M) and offsets (K,).
    loss : function of outputs (N, K) and targets (N, K)
        Returns the mean loss.
    """

    def __init__(
        self, fit: Callable[[Array, Array, float], tuple[Array, Array]], loss: Callable[[Array, Array], float]
    ) -> None:
        self.fit, self.loss = fit, loss

    def choose_penalty(self, features: Array, targets: Array, folds: Sequence[Fold]) -> float:
        """Return the penalty with the lowest loss on the rows that are not fitted; of equal ones the largest."""
        losses = {penalty: 0.0 for penalty in sorted(PENALTIES, reverse=True)}
        for penalty in losses:
            for rows, others in folds:
                weight, offset = self.fit(features[rows], targets[rows], penalty)
                losses[penalty] += len(others) * self.loss(features[others] @ weight.T + offset, targets[others])
        return min(losses, key=lambda penalty: losses[penalty])


def make_folds(subjects: Sequence[str], count: int = FOLDS) -> list[Fold]:
    """Divide rows into folds in which each subject is either fitted or measured; none for a single subject.

    Examples
    --------
    >>> [(rows.tolist(), others.tolist()) for rows, others in make_folds(["a", "a", "b"])]
    [([2], [0, 1]), ([0, 1], [2])]
    """
    names = sorted(set(subjects))
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {names[place]: number % count for number, place in enumerate(order)}
    own = np.array([fold_of[name] for name in subjects])
    used = min(count, len(names)) if len(names) > 1 else 0
    return [(np.flatnonzero(own != n), np.flatnonzero(own == n)) for n in range(used)]


def fit_classes(features: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Fit a logistic regression of exclusive classes, one-hot (N, K), with classes weighted by inverse frequency.

    A class that no row has gets a probability of 0.
    """
    found, offset = _fit_logistic(features, targets.argmax(1), penalty, class_weight="balanced")
    if len(found) == 1:  # of two classes, only the difference of the outputs matters
        found, offset = np.concatenate([-found, found]) / 2, np.concatenate([-offset, offset]) / 2
    weight, offsets, seen = (
        np.zeros((targets.shape[1], found.shape[1])),
        np.full(targets.shape[1], _NEVER),
        targets.any(0),
    )
    weight[seen], offsets[seen] = found, offset
    return weight, offsets


def fit_label(features: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Fit a logistic regression of one label, 0 or 1 (N, 1)."""
    return _fit_logistic(features, targets[:, 0].astype(int), penalty)


def _fit_logistic(
    features: Array, classes: npt.NDArray[np.int64], penalty: float, class_weight: str | None = None
) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (penalty * len(features)), class_weight=class_weight, max_iter=_ITERATIONS)
    found = model.fit(features, classes)
    return np.asarray(found.coef_, np.float64), np.asarray(found.intercept_, np.float64)


def squared_error(outputs: Array, targets: Array) -> float:
    """Return the mean squared error."""
    return float(np.square(outputs - targets).mean())


def class_log_loss(outputs: Array, targets: Array) -> float:
    """Return the cross-entropy of exclusive classes, first averaged over the rows of each class.

    Examples
    --------
    >>> round(class_log_loss(np.zeros((3, 2)), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    lost = np.logaddexp.reduce(outputs, axis=1) - (outputs * targets).sum(1)
    classes = targets.argmax(1)
    return float(np.mean([lost[classes == k].mean() for k in np.unique(classes)]))


def label_log_loss(outputs: Array, targets: Array) -> float:
    """Return the binary cross-entropy.

    Examples
    --------
    >>> round(label_log_loss(np.zeros((2, 1)), np.array([[1.0], [0.0]])), 4)
    0.6931
    """
    return float(np.logaddexp(0, np.where(targets > 0, -outputs, outputs)).mean())


BOXES = Regression(fit_ridge, squared_error)
CLASSES = Regression(fit_classes, class_log_loss)
LABELS = Regression(fit_label, label_log_loss)
