"""Test regressions on features whose relation to the targets is known."""

from __future__ import annotations

import numpy as np
import pytest

from train.linear.regression import BOXES, CLASSES, LABELS, PENALTIES, Regression, make_folds

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(60, 3))
SUBJECTS = [f"{number // 2}" for number in range(60)]


def targets_of(regression: Regression) -> np.ndarray:
    """Return targets that depend on the first two features."""
    if regression is BOXES:
        return FEATURES[:, :1] - 2 * FEATURES[:, 1:2] + 5
    if regression is LABELS:
        return (FEATURES[:, :1] > 0.3).astype(float)
    return np.eye(3)[FEATURES.argmax(1)]


@pytest.mark.parametrize("regression", [BOXES, CLASSES, LABELS], ids=["boxes", "classes", "labels"])
def test_what_features_tell_gets_a_small_penalty_and_noise_a_large_one(regression: Regression) -> None:
    folds, targets = make_folds(SUBJECTS), targets_of(regression)
    weak = regression.choose_penalty(FEATURES, targets, folds)
    assert weak <= 1e-2
    noise = np.random.default_rng(1).normal(size=(60, 3))
    assert regression.choose_penalty(noise, targets, folds) > 10 * weak
    weight, offset = regression.fit(FEATURES, targets, weak)
    outputs = FEATURES @ weight.T + offset
    assert (weight.shape, offset.shape) == ((targets.shape[1], 3), (targets.shape[1],))
    if regression is BOXES:
        np.testing.assert_allclose(outputs, targets, atol=1e-3)
    elif regression is LABELS:
        assert ((outputs > 0) == targets).mean() > 0.95
    else:
        assert (outputs.argmax(1) == targets.argmax(1)).mean() > 0.9


def test_two_classes_have_two_outputs_that_differ_in_sign() -> None:
    targets = np.eye(2)[(FEATURES[:, 0] > 0).astype(int)]
    weight, offset = CLASSES.fit(FEATURES, targets, 1e-3)
    np.testing.assert_array_equal(weight[0], -weight[1])
    assert (((FEATURES @ weight.T + offset).argmax(1)) == targets.argmax(1)).mean() > 0.95


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    features = np.concatenate([RANDOM.normal(0, 1, (95, 1)), RANDOM.normal(1, 1, (5, 1))])
    targets = np.eye(2)[[0] * 95 + [1] * 5]
    weight, offset = CLASSES.fit(features, targets, min(PENALTIES))
    assert (features @ weight.T + offset)[95:].argmax(1).sum() >= 3


def test_folds_keep_subjects_together_and_measure_every_row_once() -> None:
    folds = make_folds(SUBJECTS)
    assert len(folds) == 5
    for rows, others in folds:
        assert not {SUBJECTS[row] for row in rows} & {SUBJECTS[row] for row in others}
    assert sorted(np.concatenate([others for _, others in folds])) == list(range(60))
    assert make_folds(["a", "a"]) == []
