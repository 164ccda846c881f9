"""Divide file names into case and channel: `MS_001_0000` is channel 0000 of MS_001, not 001_0000 of MS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dali_cr.index.files import Names
from dali_cr.index.labels import label_word

MAX_DEPTH = 12
"""Largest number of positions, counted from either end, at which names are divided."""

Division = dict[str, Names]
"""Case and channel of each file, by path."""

_SHOWN = 4


def divide(readings: Mapping[str, Sequence[Names]], max_channels: int) -> Division:
    """Choose one case and channel for each file.

    If a pattern matches a name in several ways, all names are divided at the same position, counted from one end, so
    that there are at least two cases and all have the same channels. Label files are not considered.

    Parameters
    ----------
    readings : mapping of str to sequence of (case, channel)
        All ways to divide each path, shortest case first.
    max_channels : int
        Largest number of channels of a case.

    Returns
    -------
    division : dict of str to (case, channel)

    Raises
    ------
    ValueError
        If not exactly one division gives all cases the same channels; the message shows the candidates.
    """
    voters = [path for path in readings if not label_word(path)] or list(readings)
    options: dict[frozenset[frozenset[str]], Division] = {}
    for division in _divisions(readings):
        options.setdefault(frozenset(map(frozenset, _members(division).values())), division)
    if len(options) == 1:
        return next(iter(options.values()))
    alike = [division for division in options.values() if _alike(division, voters, max_channels)]
    if len(alike) != 1:
        found = "none" if not alike else "several"
        shown = "; ".join(_describe(division, voters) for division in (alike or list(options.values()))[:_SHOWN])
        raise ValueError(
            f"pattern: expected one way to divide names into {{case}} and {{channel}} with the same channels in all "
            f"cases, got {found}: {shown}. Name the channels (--channels), or write the text between both"
        )
    return alike[0]


def _divisions(readings: Mapping[str, Sequence[Names]]) -> list[Division]:
    """Return one division for each position, those with the shortest channels first."""
    depth = min(max(map(len, readings.values()), default=1), MAX_DEPTH)
    from_end = [{path: ways[max(len(ways) - 1 - n, 0)] for path, ways in readings.items()} for n in range(depth)]
    from_start = [{path: ways[min(n, len(ways) - 1)] for path, ways in readings.items()} for n in range(depth)]
    return from_end + from_start


def _members(division: Division) -> dict[str | None, list[str]]:
    """Return the paths of each case."""
    members: dict[str | None, list[str]] = defaultdict(list)
    for path, (case, _) in division.items():
        members[case].append(path)
    return members


def _channels(division: Division, voters: Sequence[str]) -> dict[str | None, list[str]]:
    """Return the channel of each file of each case, sorted."""
    channels: dict[str | None, list[str]] = defaultdict(list)
    for path in voters:
        case, channel = division[path]
        channels[case].append(str(channel))
    return {case: sorted(names) for case, names in channels.items()}


def _alike(division: Division, voters: Sequence[str], max_channels: int) -> bool:
    # Two files of the same channel count once here and are refused later.
    channels = [set(names) for names in _channels(division, voters).values()]
    return len(channels) > 1 and len(channels[0]) <= max_channels and all(some == channels[0] for some in channels)


def _describe(division: Division, voters: Sequence[str]) -> str:
    """Return a description of a division with its first case."""
    channels = _channels(division, voters)
    case, names = next(iter(channels.items()))
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(channels)} cases such as {case} with {listed}"
