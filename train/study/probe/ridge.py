"""Ridge regression on few labelled cases, and principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

Matrix = npt.NDArray[np.float64]

PENALTIES = np.logspace(-6, 2, 17)
"""Ridge penalties to choose from, relative to the total variance of the features times their number."""


def fit_ridge(features: Matrix, targets: Matrix) -> RidgeCV:
    """Return the ridge regression of (N, K) targets on (N, C) features, its penalty chosen by leave-one-out validation.

    Examples
    --------
    >>> features = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ridge = fit_ridge(features, np.hstack([1 + 2 * features, -features]))
    >>> ridge.coef_.round(3).tolist(), (ridge.intercept_.round(3) + 0.0).tolist()
    ([[2.0], [-1.0]], [1.0, 0.0])
    """
    scatter = float(np.square(features - features.mean(0)).sum())
    return RidgeCV(alphas=PENALTIES * (scatter or 1.0)).fit(features, targets)


def predict_classes(features: Matrix, targets: Matrix, asked: Matrix) -> npt.NDArray[np.int64]:
    """Return the classes (M,) of asked (M, C), predicted by ridge regression on (N, C) features with one-hot targets.

    If all labelled cases are of one class, so are the predictions.

    Examples
    --------
    >>> predict_classes(np.array([[0.0], [0.1], [1.0], [0.9]]), np.eye(2)[[0, 0, 1, 1]], np.array([[0.2], [2.0]]))
    array([0, 1])
    """
    if len(np.unique(targets.argmax(1))) == 1:
        return np.full(len(asked), targets[0].argmax())
    return np.asarray(fit_ridge(features, targets).predict(asked).argmax(1))


def reduce(train: Matrix, test: Matrix, components: int) -> tuple[Matrix, Matrix]:
    """Return the scores of (N, C) train and (M, C) test on the first principal components of train.

    Parameters
    ----------
    train, test : (N, C), (M, C) float64
    components : int
        At most one less than the cases of train, and at most C, are used.
    """
    count = min(components, len(train) - 1, train.shape[1])
    pca = PCA(count, svd_solver="full").fit(train)
    return np.asarray(pca.transform(train)), np.asarray(pca.transform(test))
