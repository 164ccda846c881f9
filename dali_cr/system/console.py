"""Make stdout and stderr accept all characters."""

from __future__ import annotations

import io
import sys


def print_anything() -> None:
    """Print characters that the encoding lacks as escapes, for example in file names that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
