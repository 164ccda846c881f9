"""Atomic writing of text, CSV and JSON files; see `dali_cr.system.atomic`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dali_cr.system.atomic import write_whole

__all__ = ["write_json", "write_table", "write_text", "write_whole"]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, atomically; file names that are not UTF-8 keep their bytes."""
    write_whole(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def write_table(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], empty: Sequence[str]) -> None:
    """Write rows of the same columns as CSV, atomically; without rows the header `empty`."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else list(empty), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())
