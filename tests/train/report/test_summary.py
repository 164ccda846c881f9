"""Summaries over cases against values computed by hand."""

import numpy as np
import pytest

from train.report.summary import resample_classes, summarise


def test_a_case_counts_once_whatever_the_number_of_its_organs():
    errors = [("a", "x", 1.0), ("a", "y", 3.0), ("b", "x", 6.0)]
    rows = [
        {"case": case, "class": name, "face_mm": str(mm), "centroid_mm": "0", "baseline_face_mm": "8"}
        for case, name, mm in errors
    ]
    found = summarise("localize", rows, ["x", "y"])
    assert found["over_cases"]["face_mm"] == {"mean": 4.0, "sd": pytest.approx(np.sqrt(8))}
    assert found["by_class"]["x"]["face_mm"] == {"mean": 3.5, "sd": pytest.approx(np.sqrt(12.5))}
    assert found["by_class"]["y"]["face_mm"] == {"mean": 3.0, "sd": None}
    assert found["by_class"]["y"]["cases"] == 1
    assert found["over_cases"]["baseline_face_mm"] == {"mean": 8.0, "sd": 0.0}
    assert found["below_baseline_mm"]["mean"] == 4.0
    assert found["below_baseline_mm"]["low"] < 2.0 < 6.0 < found["below_baseline_mm"]["high"]


def test_classes_by_hand():
    said = np.eye(2, dtype=bool)[[0] * 30 + [1] * 10]
    truth = np.eye(2, dtype=bool)[[0] * 20 + [1] * 20]
    found = resample_classes(said, truth)
    assert found["accuracy"]["mean"] == 0.75
    assert found["f1"]["mean"] == pytest.approx((2 * 20 / 50 + 2 * 10 / 30) / 2)
    # The normal approximation of a share of 40 cases.
    reach = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert found["accuracy"]["low"] == pytest.approx(0.75 - reach, abs=0.03)
    assert found["accuracy"]["high"] == pytest.approx(0.75 + reach, abs=0.03)
    assert found["f1"]["low"] < found["f1"]["mean"] < found["f1"]["high"]
    assert resample_classes(said, truth) == found


def test_classes_of_a_file():
    rows = [
        {"case": "a", "class": "x", "predicted": "x", "p x": "0.9", "p y": "0.1", "p z": "0"},
        {"case": "b", "class": "y", "predicted": "x", "p x": "0.6", "p y": "0.4", "p z": "0"},
        {"case": "c", "class": "y", "predicted": "y", "p x": "0.3", "p y": "0.7", "p z": "0"},
    ]
    found = summarise("classify", rows, ["x", "y", "z"])
    assert found["by_class"]["y"] == {"cases": 2, "f1": pytest.approx(2 / 3), "precision": 1, "recall": 0.5, "auroc": 1}
    assert found["by_class"]["z"] == {"cases": 0, "f1": None, "precision": None, "recall": None, "auroc": None}
    assert found["over_cases"]["f1"]["mean"] == pytest.approx(2 / 3)
