"""What commands print, whatever characters the terminal can show."""

from __future__ import annotations

import io
import sys


def print_anything() -> None:
    """Let stdout and stderr show as escapes what their encoding has not, as a file name that is no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
