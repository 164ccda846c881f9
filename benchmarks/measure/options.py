"""Command lines of the benchmarks: help with grouped options and their defaults."""

from __future__ import annotations

import argparse


class _WithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Formatter that shows defaults, except flags and those that the help text describes."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool) or "default:" in (action.help or ""):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def make_parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help shows defaults.

    Parameters
    ----------
    program : str
        The command as typed.
    description : str, optional
        Text whose first line describes the command, such as a module's docstring.
    """
    return argparse.ArgumentParser(
        program, description=(description or "").partition("\n")[0], formatter_class=_WithDefaults
    )
