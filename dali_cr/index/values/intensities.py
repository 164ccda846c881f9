"""Format foreground intensities of an index: percentiles, and the share that a window clips."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from dali_cr.index.cases import Index
from dali_cr.index.values.statistics import LEVELS

Lines = list[tuple[str, str]]
"""Name and text of each line of a table."""

_PERCENTS = (0.5, 5.0, 50.0, 95.0, 99.5)


def foreground_lines(index: Index) -> Lines:
    """Return lines with the percentiles of the foreground per channel, as ranges over the volumes."""
    lines: Lines = []
    most = max((len(case.volumes) for case in index.cases), default=0)
    for channel in range(most):
        volumes = [case.volumes[channel] for case in index.cases if channel < len(case.volumes)]
        known = [volume.statistics.percentiles for volume in volumes if volume.statistics.percentiles]
        if known:
            name = index.channel_names[channel] if channel < len(index.channel_names) else f"channel {channel}"
            texts = [f"{q:g} %: {format_range([values[LEVELS.index(q)] for values in known])}" for q in _PERCENTS]
            lines.append(("" if lines else "foreground", f"{name}: " * (most > 1) + ", ".join(texts)))
    return lines


def window_lines(index: Index, window: tuple[float, float] | None) -> Lines:
    """Return a line with the share of the foreground that a window clips; no line without a window."""
    if window is None:
        return []
    shares = [100 * share for share in clipped_shares(index, *window)]
    if not shares:
        return [("window", "unknown, because the index is of an earlier version; scan again with --fresh")]
    text = f"{window[0]:g} to {window[1]:g} clips {median(shares):.3g} % of the foreground"
    return [("window", text + (f" (median of the volumes; {format_range(shares)} %)" if len(shares) > 1 else ""))]


def clipped_shares(index: Index, low: float, high: float) -> list[float]:
    """Return the share of the foreground outside a window for each volume with known percentiles."""
    shares = [volume.statistics.clipped(low, high) for case in index.cases for volume in case.volumes]
    return [share for share in shares if share is not None]


def format_range(numbers: Sequence[float]) -> str:
    """Return the lowest and the highest number, or one number if both look the same.

    Examples
    --------
    >>> format_range([3, 1.5]), format_range([2.0, 2.0])
    ('1.5 to 3', '2')
    """
    low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
    return low if low == high else f"{low} to {high}"
