"""Names in files of earlier versions."""

import json
from pathlib import Path

from train.report.keys import RENAMED, current_name, current_names

COMPAT = Path(__file__).parents[2] / "compat" / "0.1.0"


def test_names_of_an_earlier_version_are_read_under_the_current_ones() -> None:
    for old, new in RENAMED.items():
        assert current_name(old) == new
        assert current_name(new) == new
    assert current_name("val_wall_mm") == "val_face_mm"
    assert current_name("wall_mm left wall_mm") == "face_mm left wall_mm"


def test_other_names_and_all_values_are_kept() -> None:
    row = {"case": "a", "class": "wall_mm", "said": "said", "p said": "0.5"}
    assert current_names(row) == {"case": "a", "class": "wall_mm", "predicted": "said", "p said": "0.5"}


def test_the_curves_of_version_0_1_0_are_read_under_the_current_names() -> None:
    names = {
        run: {name for line in (COMPAT / run / "metrics.jsonl").read_text().splitlines() for name in read(line)}
        for run in ("restoration", "pcrlv2")
    }
    assert "identity_loss" in names["restoration"]
    assert {"contrastive", "contrastive_local", "r2", "collapse_metric", "collapse_metric_level_0"} <= names["pcrlv2"]
    assert not set(RENAMED) & (names["restoration"] | names["pcrlv2"])


def read(line: str) -> dict[str, float]:
    return current_names(json.loads(line))
