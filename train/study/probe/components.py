"""Principal components of the labelled cases, and classes predicted from them or from other features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from ...linear.ridge import Array, fit_ridge_cv


def predict_classes(features: Array, targets: Array, asked: Array) -> npt.NDArray[np.int64]:
    """Return the classes (M,) of asked (M, C), predicted by ridge regression on (N, C) features with one-hot targets.

    If all labelled cases are of one class, so are the predictions.

    Examples
    --------
    >>> predict_classes(np.array([[0.0], [0.1], [1.0], [0.9]]), np.eye(2)[[0, 0, 1, 1]], np.array([[0.2], [2.0]]))
    array([0, 1])
    """
    if len(np.unique(targets.argmax(1))) == 1:
        return np.full(len(asked), targets[0].argmax())
    return np.asarray(fit_ridge_cv(features, targets).predict(asked).argmax(1))


def reduce(train: Array, test: Array, components: int) -> tuple[Array, Array]:
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
