"""Atomic writing of text and JSON files; see `dali_cr.system.atomic`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from dali_cr.system.atomic import write_whole

__all__ = ["write_json", "write_text", "write_whole"]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, atomically; file names that are not UTF-8 keep their bytes."""
    write_whole(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
