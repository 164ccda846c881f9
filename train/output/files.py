"""Files that are either whole or not there.

A job may be killed at any instruction, also while it writes. So each file is written under another name in the same
folder, forced to the disk, and only then renamed over the old one; the folder is forced to the disk too, or the
rename itself could be lost with the power.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    path : path-like
        The file. Its folder must exist.
    content : bytes
        All of it.
    """
    path = Path(path)
    # One fixed name, so that what a killed run left behind is overwritten by the next.
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        # On a full disk even a part is in the way of what comes next.
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
