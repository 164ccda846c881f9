"""Where names are divided into case and channel: `MS_001_0000` is channel 0000 of MS_001, not 001_0000 of MS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dali_cr.index.files import Names
from dali_cr.index.labels import label_word

MAX_DEPTH = 12
"""Places where a name may be divided that are tried from either end."""

Division = dict[str, Names]
"""The case and channel of each file, by path."""

_SHOWN = 4


def divide(readings: Mapping[str, Sequence[Names]], max_channels: int) -> Division:
    """Choose one case and channel for each file.

    Where a pattern leaves it open, names are divided at the same place, counted from one end, so that at least two
    cases come out and all of them have the same channels. Files that call themselves labels have no say in it.

    Parameters
    ----------
    readings : mapping of str to sequence of (case, channel)
        Every way to read each path, the shortest case first.
    max_channels : int
        A case with more is none.

    Returns
    -------
    division : dict of str to (case, channel)

    Raises
    ------
    ValueError
        If no division, or more than one, makes all cases alike; it shows them.
    """
    voters = [path for path in readings if not label_word(path)] or list(readings)
    options: dict[frozenset[frozenset[str]], Division] = {}
    for division in _divisions(readings):
        options.setdefault(frozenset(map(frozenset, _members(division).values())), division)
    if len(options) == 1:
        return next(iter(options.values()))
    alike = [division for division in options.values() if _alike(division, voters, max_channels)]
    if len(alike) != 1:
        found = "none makes" if not alike else "more than one makes"
        shown = "; ".join(_describe(division, voters) for division in (alike or list(options.values()))[:_SHOWN])
        raise ValueError(
            f"pattern: expected one way to divide names into {{case}} and {{channel}} that makes all cases alike, "
            f"{found}: {shown}. Name the channels (channels=, --channels), or write what stands between the two"
        )
    return alike[0]


def _divisions(readings: Mapping[str, Sequence[Names]]) -> list[Division]:
    """Return one division for each place, first those with the shortest channels."""
    depth = min(max(map(len, readings.values()), default=1), MAX_DEPTH)
    places = range(depth)
    from_end = [{path: some[max(len(some) - 1 - place, 0)] for path, some in readings.items()} for place in places]
    from_start = [{path: some[min(place, len(some) - 1)] for path, some in readings.items()} for place in places]
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
    # Two files of one channel are refused by name later; here they are one.
    channels = [set(names) for names in _channels(division, voters).values()]
    return len(channels) > 1 and len(channels[0]) <= max_channels and all(some == channels[0] for some in channels)


def _describe(division: Division, voters: Sequence[str]) -> str:
    """Return a division as its first case, for a person."""
    channels = _channels(division, voters)
    case, names = next(iter(channels.items()))
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(channels)} cases such as {case} with {listed}"
