"""Find cases to exclude: duplicates, outliers of intensity and spacing, and mostly empty volumes.

The list is written to a file; cases are excluded only when the list is passed to a later scan.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Case, Volume, counted
from dali_cr.system.atomic import write_whole

Z, EMPTY = 6.0, 0.01
"""Default limits of the robust z-score and of the share of foreground."""

LEAST = 5
"""Minimum number of cases of a data set for comparisons (project choice)."""

_FLOOR = 0.05
"""Minimum scale as a share of the median std or spacing, since with many equal values the robust scale is 0."""

_TO_SIGMA = 1.4826
"""Factor from the median absolute deviation to the standard deviation of a normal distribution."""

_INTENSITIES = {"mean": "mean", "deviation": "standard deviation", "low": "0.5 percentile", "high": "99.5 percentile"}
"""Compared statistics of the foreground, with their names in the list."""


@dataclass(frozen=True)
class Exclusion:
    """One reason to exclude a case; the fields are the columns of the file.

    Attributes
    ----------
    case, path : str
    reason : str
        Such as "duplicate of a/1", "spacing W" or "foreground mean".
    value, limit : str
        The value of the case, and the usual range.
    """

    case: str
    path: str
    reason: str
    value: str = ""
    limit: str = ""


def find_exclusions(index: Index, *, z: float = Z, empty: float = EMPTY) -> list[Exclusion]:
    """Return reasons to exclude cases, in the order of the cases.

    Parameters
    ----------
    index : Index
    z : float
        A value is an outlier if its distance from the median is above z times 1.4826 x the median of these distances
        (or z times 5 % of the median std, for spacings of the median, if that is larger). Cases are compared within
        their data set, channel by channel, if it has at least `LEAST` cases.
    empty : float
        A volume is mostly empty if its share of foreground is below this limit.

    Returns
    -------
    exclusions : list of Exclusion
        A case may have several. If cases share a channel of equal content, all but the first are duplicates.

    Raises
    ------
    ValueError
        If a limit is out of range.
    """
    check_limits(z, empty)
    found = [*_duplicates(index), *_empty(index, empty)]
    for cases in datasets_of(index).values():
        if len(cases) >= LEAST:
            found += [*_outliers_of_spacing(cases, z), *_outliers_of_intensity(cases, z)]
    places = {case.name: place for place, case in enumerate(index.cases)}
    return sorted(found, key=lambda one: places[one.case])


def check_limits(z: float, empty: float) -> None:
    """Raise ValueError if a limit of `find_exclusions` is out of range."""
    if not (math.isfinite(z) and z > 0):
        raise ValueError(f"z: expected a number above 0, got {z!r}")
    if not 0 <= empty <= 1:
        raise ValueError(f"empty: expected a share from 0 to 1, got {empty!r}")


def datasets_of(index: Index) -> dict[str, list[Case]]:
    """Return the cases of each data set; under an empty name without data sets."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in index.cases:
        found[case.dataset].append(case)
    return dict(found)


def _duplicates(index: Index) -> Iterator[Exclusion]:
    paths = {case.name: case.volumes[0].path for case in index.cases}
    for first, *others in index.copies:
        for name in others:
            yield Exclusion(name, paths[name], f"duplicate of {first}")


def _empty(index: Index, limit: float) -> Iterator[Exclusion]:
    for case in index.cases:
        for volume in case.volumes:
            share = volume.statistics.foreground / volume.geometry.voxels
            if share < limit:
                yield Exclusion(case.name, volume.path, "mostly empty", f"{share:.3g}", f"at least {limit:g}")


def _outliers_of_spacing(cases: Sequence[Case], z: float) -> Iterator[Exclusion]:
    for axis, name in enumerate("DHW"):
        values = [case.volumes[0].spacing[axis] for case in cases]
        low, high = _limits(values, z, median(values))
        for case, value in zip(cases, values, strict=True):
            if not low <= value <= high:
                limit = f"{max(0.0, low):.4g} to {high:.4g} mm"
                yield Exclusion(case.name, case.volumes[0].path, f"spacing {name}", f"{value:.4g} mm", limit)


def _outliers_of_intensity(cases: Sequence[Case], z: float) -> Iterator[Exclusion]:
    for channel in range(min(len(case.volumes) for case in cases)):
        volumes: list[Volume] = [case.volumes[channel] for case in cases]
        unit = median(volume.statistics.deviation for volume in volumes)
        for field, name in _INTENSITIES.items():
            values = [float(getattr(volume.statistics, field)) for volume in volumes]
            low, high = _limits(values, z, unit)
            for case, volume, value in zip(cases, volumes, values, strict=True):
                if not low <= value <= high:
                    reason, limit = f"foreground {name}", f"{low:.4g} to {high:.4g}"
                    yield Exclusion(case.name, volume.path, reason, f"{value:.4g}", limit)


def _limits(values: Sequence[float], z: float, unit: float) -> tuple[float, float]:
    """Return the range of values that are no outliers.

    Examples
    --------
    >>> [round(limit, 3) for limit in _limits([1, 1, 1, 1, 9], 6, 1)]
    [0.7, 1.3]
    """
    centre = median(values)
    scale = max(_TO_SIGMA * median(abs(value - centre) for value in values), _FLOOR * unit)
    return centre - z * scale, centre + z * scale


def describe_exclusions(index: Index, found: Sequence[Exclusion]) -> list[str]:
    """Return lines that count the reasons, and name the data sets that are too small to compare their cases."""
    kinds = Counter(one.reason.partition(" of ")[0] for one in found)
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [f"{counted(len({one.case for one in found}), 'case')} of {len(index)} to check{named and f': {named}'}"]
    for name, cases in datasets_of(index).items():
        if len(cases) < LEAST:
            of = f" of {name}" if name else ""
            lines.append(
                f"intensities and spacings{of} not compared: {counted(len(cases), 'case')}, {LEAST} are needed"
            )
    return lines


def write_exclusions(path: str | os.PathLike[str], found: Sequence[Exclusion]) -> None:
    """Write a CSV file of exclusions: case, path, reason, value, limit; atomically."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(field.name for field in fields(Exclusion))
    table.writerows(map(astuple, found))
    write_whole(path, text.getvalue().encode(), f".{os.getpid()}")


def read_exclusions(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the reasons for each case that a CSV file names, for `Index.exclude`.

    Parameters
    ----------
    path : path
        CSV file with a column `case`, and optionally `reason`, `value` and `limit`. Remove a row to keep its case.

    Raises
    ------
    ValueError
        If the file cannot be read or has no column `case`.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ("an empty file",)
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{Path(path)}: expected a CSV file of exclusions, it cannot be read: {error}") from error
    if "case" not in columns:
        raise ValueError(f"{Path(path)}: expected a CSV file with a column case, got {', '.join(map(str, columns))}")
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        value, limit = row.get("value") or "", row.get("limit") or ""
        usual = f" ({value}, usual is {limit})" if value and limit else ""
        reasons[row["case"]].append(f"{row.get('reason') or 'named in the list'}{usual}")
    return {name: "; ".join(dict.fromkeys(some)) for name, some in reasons.items()}
