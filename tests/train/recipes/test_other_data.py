"""Test that the table of scores on other data has the numbers of the stored results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parents[3] / "train" / "recipes"
SCORES = {"faces, px": "face_mm", "faces, mm": "face_mm", "macro F1": "f1", "AUROC": "auroc"}


def report_of(link: str, column: str) -> dict[str, Any]:
    """Return the scores of a stored result that a cell links to."""
    content: dict[str, Any] = json.loads((RECIPES / link).read_text())
    report: dict[str, Any] = content[column]["report"] if column in content else content["report"]
    return report


def test_the_table_has_the_numbers_of_the_results() -> None:
    section = (RECIPES / "README.md").read_text().partition("## On other data")[2]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    header, _, *rows = lines
    assert len(rows) == 5
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        for column in ("trivial", "linear", "random weights", "pre-trained"):
            number, link = re.fullmatch(r"\[([\d.]+)\]\((.+)\)", cells[column]).groups()  # type: ignore[union-attr]
            value = report_of(link, column)[SCORES[cells["score"]]]
            assert f"{value:.{len(number.partition('.')[2])}f}" == number, (cells["data"], column)
