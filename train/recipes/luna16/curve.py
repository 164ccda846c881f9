"""FROC of LUNA16: candidates compared with nodules, and the curve of sensitivity over false positives per scan.

The rules are those of the challenge: a candidate hits a nodule if it is nearer to its centre than the radius; of
several candidates that hit one nodule the most probable one counts; candidates that hit an irrelevant finding, whose
radius is 5 mm if none is known, are ignored; all others are false positives. Between thresholds the curve is
interpolated linearly. The evaluation script of the challenge also draws bootstrap samples of the scans for intervals;
this one does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .marks import Mark

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the sensitivity is measured."""

UNKNOWN = 10.0
"""Diameter in mm of findings without one, which the published table gives as -1; as in the script of the challenge."""


@dataclass(frozen=True)
class Matched:
    """Candidates of some scans, compared with the nodules.

    Attributes
    ----------
    hits : list of float
        Probability of the most probable candidate of each nodule that has one.
    false : list of float
        Probabilities of the false positives.
    nodules, scans : int
        Numbers of nodules and of scans.
    """

    hits: list[float]
    false: list[float]
    nodules: int
    scans: int


def match_candidates(
    scans: Iterable[str], candidates: Iterable[Mark], nodules: Iterable[Mark], excluded: Iterable[Mark]
) -> Matched:
    """Compare candidates with nodules.

    Parameters
    ----------
    scans : iterable of str
        The scans that were searched, also those without a candidate.
    candidates : iterable of Mark
        Values are probabilities.
    nodules, excluded : iterable of Mark
        Values are diameters in mm; marks of other scans are ignored.
    """
    names = list(scans)
    by_scan: dict[str, tuple[list[Mark], list[Mark], list[Mark]]] = {name: ([], [], []) for name in names}
    for kind, marks in enumerate((candidates, nodules, excluded)):
        for mark in marks:
            if mark.scan in by_scan:
                by_scan[mark.scan][kind].append(mark)
    hits, false, count = [], [], 0
    for found, wanted, ignored in by_scan.values():
        left = set(range(len(found)))
        count += len(wanted)
        for nodule in wanted:
            near = [place for place, one in enumerate(found) if _hits(one, nodule)]
            left -= set(near)
            if near:
                hits.append(max(found[place].value for place in near))
        left -= {place for place in left for finding in ignored if _hits(found[place], finding)}
        false += [found[place].value for place in sorted(left)]
    return Matched(hits, false, count, len(names))


def _hits(candidate: Mark, finding: Mark) -> bool:
    diameter = finding.value if finding.value >= 0 else UNKNOWN
    return math.dist(candidate.position, finding.position) < diameter / 2


def froc_curve(matched: Matched) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return false positives per scan and sensitivity at every threshold, from none detected to all.

    Examples
    --------
    >>> rates, sensitivities = froc_curve(Matched(hits=[0.9], false=[0.5], nodules=2, scans=1))
    >>> rates.tolist(), sensitivities.tolist()
    ([0.0, 0.0, 1.0], [0.0, 0.5, 0.5])
    """
    if not matched.nodules or not matched.scans:
        raise ValueError(f"expected at least one scan and one nodule, got {matched.scans} and {matched.nodules}")
    thresholds = np.unique([*matched.hits, *matched.false])[::-1]
    ordered = [np.sort(values) for values in (matched.false, matched.hits)]
    above = [len(values) - np.searchsorted(values, thresholds, "left") for values in ordered]
    false, true = (np.concatenate([[0.0], counts.astype(np.float64)]) for counts in above)
    return false / matched.scans, true / matched.nodules


def sensitivities(matched: Matched, rates: Sequence[float] = RATES) -> list[float]:
    """Return the sensitivity at each number of false positives per scan; beyond the last one that of all candidates."""
    false, true = froc_curve(matched)
    return [float(np.interp(rate, false, true)) for rate in rates]
