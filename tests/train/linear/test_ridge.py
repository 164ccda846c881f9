"""Test ridge regression against its closed form, and that its two forms agree."""

from __future__ import annotations

import numpy as np
import pytest

from train.linear.ridge import PENALTIES, average_weights, fit_ridge, fit_ridge_cv


def test_the_weights_are_those_of_ridge_regression() -> None:
    draws = np.random.default_rng(0)
    known, asked = draws.normal(size=(7, 4)), draws.normal(size=(3, 4))
    targets = (known @ draws.normal(size=(4, 30)) + draws.normal(size=(7, 30))).astype(np.float32)
    centred = targets - targets.mean(0)
    predicted = targets.mean(0) + average_weights(known, asked, centred) @ centred
    np.testing.assert_allclose(predicted, fit_ridge_cv(known, targets).predict(asked), atol=1e-5)
    assert average_weights(known[:1], asked, centred[:1]).tolist() == [[0.0]] * 3


def test_a_chosen_penalty_is_that_of_the_regression_with_a_given_one() -> None:
    draws = np.random.default_rng(1)
    features, targets = draws.normal(size=(20, 3)), draws.normal(size=(20, 2))
    chosen = fit_ridge_cv(features, targets)
    weight, offset = fit_ridge(features, targets, chosen.alpha_ / len(features))
    np.testing.assert_allclose(weight, chosen.coef_, rtol=1e-9)
    np.testing.assert_allclose(offset, chosen.intercept_, rtol=1e-9)


def test_ridge_is_the_best_at_cases_left_out() -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(size=(12, 5))
    targets = features @ draws.normal(size=(5, 2)) + draws.normal(size=(12, 2))

    def solve(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        mean, middle = x.mean(0), y.mean(0)
        weights = np.linalg.solve((x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1]), (x - mean).T @ (y - middle))
        return weights, middle - mean @ weights

    # The centre is that of all cases, as in the closed form.
    centred, goal = features - features.mean(0), targets - targets.mean(0)
    errors = {}
    for penalty in PENALTIES * np.square(np.linalg.svd(centred)[1]).sum():
        gram = centred.T @ centred + penalty * np.eye(5)
        hat = centred @ np.linalg.solve(gram, centred.T)
        own = np.diag(hat) + 1 / 12
        errors[penalty] = np.square((goal - hat @ goal) / (1 - own)[:, None]).sum()
    best = min(errors, key=lambda penalty: errors[penalty])
    ridge, wanted = fit_ridge_cv(features, targets), solve(features, targets, best)
    np.testing.assert_allclose(ridge.coef_.T, wanted[0], rtol=1e-9)
    np.testing.assert_allclose(ridge.intercept_, wanted[1], rtol=1e-9)
    # The definition of leave-one-out: a fit without the case, with its own intercept.
    left_out = []
    for place in range(12):
        rest = np.arange(12) != place
        own_weights, own_offset = solve(features[rest], targets[rest], best)
        left_out.append(np.square(features[place] @ own_weights + own_offset - targets[place]).sum())
    assert sum(left_out) == pytest.approx(errors[best], rel=1e-6)
