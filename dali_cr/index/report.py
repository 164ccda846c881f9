"""Format an index as a table, with warnings and the refused files."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from dali_cr.index.cases import Index
from dali_cr.index.corpus.about import dataset_lines
from dali_cr.index.layout.proposal import describe_layout
from dali_cr.index.values.intensities import foreground_lines, format_range, window_lines
from dali_cr.index.volumes import Case, Problem, Volume

MIXED_SPACING = 1.5
"""Ratio of the largest to the smallest voxel size along an axis above which there is a warning."""

NEARLY_EMPTY = 0.01
"""Share of foreground below which there is a warning."""

_NARROWEST, _WIDEST = 0.0001, 100.0
"""Voxel sizes in mm outside of this range probably have a wrong unit of length."""

_SHOWN = 8
"""Largest number of values of a property, or of files of a kind, that are listed."""

_LARGE, _WORTH = 1e9, 3.0
"""Brick stores are proposed from this size of gzip files in bytes, and this factor of bytes to decompress."""

_CROP, _EDGE = 64, 32
"""Edges of the crop in the proposal, and of bricks."""

_LABEL = "looks like a label"


def describe(index: Index, window: tuple[float, float] | None = None) -> str:
    """Return a table of an index: one property per line, then warnings, then excluded files with the reasons.

    Parameters
    ----------
    index : Index
    window : (low, high), optional
        Adds the share of the foreground that an intensity window clips.

    Returns
    -------
    table : str
        The table, with control characters of file names escaped.
    """
    lines = [*_properties(index), *foreground_lines(index), *window_lines(index, window)]
    lines += [("warning", text) for text in _warnings(index)]
    if copies := describe_copies(index):
        lines.append(("copies", copies))
    labels = [problem for problem in index.problems if problem.reason.startswith(_LABEL)]
    refused = [problem for problem in index.problems if not problem.reason.startswith(_LABEL)]
    if labels:
        lines += [("labels", f"{len(labels)} excluded"), *_problems(labels, 2)]
    lines += [("refused", str(len(refused))), *_problems(refused, _SHOWN)]
    if index.ignored:
        lines.append(("ignored", describe_ignored(index)))
    if advice := describe_packing(index):
        lines.append(("pack", advice))
    return "\n".join(f"{name:<12} {printable(text)}".rstrip() for name, text in lines)


def describe_packing(index: Index) -> str:
    """Return a line on the gain by brick stores; empty if the gzip files or the gain are small.

    Parameters
    ----------
    index : Index
    """
    volumes = [volume for case in index.cases for volume in case.volumes if volume.data.lower().endswith(".gz")]
    if sum({volume.data: volume.size for volume in volumes}.values()) < _LARGE:
        return ""
    before = sum(map(_read_of_gzip, volumes)) / len(volumes)
    after = sum(map(_read_of_store, volumes)) / len(volumes)
    if before < _WORTH * after:
        return ""
    return (
        f"reading a 64³ crop decompresses {_bytes(before)} of gzip on average, with brick stores {_bytes(after)}, "
        f"{before / after:.0f} times less: dali-cr pack {index.root} OUT"
    )


def _read_of_gzip(volume: Volume) -> float:
    """Return the average number of bytes that are decompressed up to the end of a crop."""
    depth = volume.shape[0]
    share = min(1.0, (depth + _CROP) / (2 * depth))
    return (volume.frame + share) * volume.geometry.voxels * volume.geometry.itemsize


def _read_of_store(volume: Volume) -> float:
    """Return the average number of bytes in the bricks of a crop."""
    edges = [min(length, _CROP + _EDGE - 1) for length in volume.shape]
    return math.prod(edges) * volume.geometry.itemsize


def describe_ignored(index: Index) -> str:
    """Return the number of ignored files by kind, such as "8 .dcm, 2 hidden"."""
    kinds = [f"{count} {kind}" for kind, count in index.ignored.items()]
    rest = sum(list(index.ignored.values())[_SHOWN:])
    return ", ".join(kinds[:_SHOWN]) + (f", and {rest} of other kinds" if rest else "")


def _properties(index: Index) -> list[tuple[str, str]]:
    volumes = [volume for case in index.cases for volume in case.volumes]
    data = {volume.data: volume.geometry.data_bytes for volume in volumes}
    layout = describe_layout(index)
    lines = [
        ("root", str(index.root)),
        *([("layout", layout)] if layout else []),
        ("cases", str(len(index))),
        ("channels", _count(len(case.volumes) for case in index.cases)),
    ]
    if index.channel_names:
        lines.append(("", " ".join(index.channel_names)))
    lines += [("data set" if not number else "", text) for number, text in enumerate(dataset_lines(index))]
    return [
        *lines,
        ("shape", _shapes([case.shape for case in index.cases])),
        ("dtype", _count(volume.dtype for volume in volumes)),
        ("orientation", _count(volume.orientation for volume in volumes)),
        ("spacing", _span([volume.spacing for volume in volumes], "mm")),
        *_units(volumes),
        ("decompressed", _bytes(sum(data.values()))),
    ]


def _units(volumes: Sequence[Volume]) -> list[tuple[str, str]]:
    """Return a line on the units of length, unless all are mm."""
    counts = Counter(volume.geometry.unit for volume in volumes)
    handling = {"unknown": "taken as mm", "mm": ""}
    texts = [
        f"{unit} in {count} of {len(volumes)} headers, {handling.get(unit, 'converted to mm')}".rstrip(", ")
        for unit, count in counts.most_common()
    ]
    return [("units", "; ".join(texts))] if set(counts) - {"mm"} else []


def _warnings(index: Index) -> list[str]:
    """Return warnings about properties that can harm training."""
    volumes = [volume for case in index.cases for volume in case.volumes]
    warnings = []
    if len({len(case.volumes) for case in index.cases}) > 1:
        warnings.append("cases have different numbers of channels: a loader needs the same number in all cases")
    doubled = [case.name for case in index.cases if _has_double(case)]
    if doubled:
        warnings.append(f"two files of one case have the same content: {', '.join(_few(doubled))}")
    for axis, lengths in zip("DHW", zip(*(volume.spacing for volume in volumes), strict=True), strict=False):
        ratio = max(lengths) / min(lengths)
        if ratio > MIXED_SPACING:
            warnings.append(
                f"spacing along {axis} differs by a factor of {ratio:.2g}: equal crops in voxels differ in mm; "
                "resample the volumes"
            )
    for odd, how in (
        ({v: -max(v.spacing) for v in volumes if max(v.spacing) > _WIDEST}, f"wider than {_WIDEST:g}"),
        ({v: min(v.spacing) for v in volumes if min(v.spacing) < _NARROWEST}, f"narrower than {_NARROWEST:g}"),
    ):
        if odd:
            units = ", ".join(sorted({volume.geometry.unit for volume in odd}))
            warnings.append(
                f"{_volumes(odd)} with voxels {how} mm; check the unit in the header ({units}): {_worst(odd)}"
            )
    empty = {v: v.statistics.foreground / v.geometry.voxels for v in volumes}
    empty = {volume: share for volume, share in empty.items() if share < NEARLY_EMPTY}
    if empty:
        warnings.append(f"{_volumes(empty)} nearly empty; share of foreground: {_worst(empty)}")
    broken = {v: -v.statistics.nonfinite / v.geometry.voxels for v in volumes if v.statistics.nonfinite}
    if broken:
        warnings.append(f"{_volumes(broken)} with NaN or Inf; share of voxels: {_worst(broken)}")
    return warnings


def describe_copies(index: Index) -> str:
    """Return a line that names the cases with equal content; empty if there are none.

    Parameters
    ----------
    index : Index
    """
    unknown = [volume for case in index.cases for volume in case.volumes if not volume.content_sha256]
    if unknown:
        return f"unknown for {_volumes(unknown)} indexed by an earlier version; scan the data again"
    groups = index.copies
    if not groups:
        return ""
    names = "; ".join(" = ".join(_few(group)) for group in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    count = f"{len(groups)} group{'s' * (len(groups) != 1)} of cases"
    return f"{count} with the same content, which a split keeps in one part: {names}{more}"


def _has_double(case: Case) -> bool:
    """Whether two files (channels) of a case contain the same image."""
    files = {(volume.path, volume.content_sha256) for volume in case.volumes if volume.content_sha256}
    return len({content for _, content in files}) < len(files) and len({path for path, _ in files}) == len(files)


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:_SHOWN], *([f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]


def _volumes(some: Sequence[Volume] | dict[Volume, float]) -> str:
    return f"{len(some)} volume{'s' * (len(some) != 1)}"


def _worst(shares: dict[Volume, float]) -> str:
    """Return the volumes with the lowest numbers."""
    worst = sorted(shares, key=lambda volume: shares[volume])[:_SHOWN]
    texts = [f"{volume.path}{f'#{volume.frame}' * (volume.frame > 0)} {abs(shares[volume]):.2g}" for volume in worst]
    return ", ".join(texts) + (f", and {len(shares) - _SHOWN} more" if len(shares) > _SHOWN else "")


def _problems(problems: Sequence[Problem], shown: int) -> list[tuple[str, str]]:
    """Return a line for each problem, but only the first ones of many with the same reason."""
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[re.sub(r"\d+|\(.*|:.*", "", problem.reason, flags=re.DOTALL)].append(problem)
    lines = []
    for kind in kinds.values():
        lines += [("", f"{problem.path}: {problem.reason}") for problem in kind[:shown]]
        if len(kind) > shown:
            lines.append(("", f"and {len(kind) - shown} more of this kind; the saved index (--save) lists all"))
    return lines


def _bytes(count: float) -> str:
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{count / unit:.3g} {name}"


def _count(values: Iterable[object]) -> str:
    """Return the values with their counts, the most frequent first."""
    counts = Counter(map(str, values)).most_common()
    texts = [value if len(counts) == 1 else f"{value} ({times})" for value, times in counts[:_SHOWN]]
    return ", ".join(texts) + (f", and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _shapes(shapes: list[tuple[int, int, int]]) -> str:
    """Return the shapes with their counts, or their range if there are many."""
    if len(set(shapes)) > _SHOWN:
        return _span(shapes, "voxels")
    return _count(" × ".join(map(str, shape)) for shape in shapes)


def _span(triples: Sequence[tuple[float, float, float]], unit: str) -> str:
    """Return the range along each of D, H and W."""
    texts = [format_range(numbers) for numbers in zip(*triples, strict=True)]
    return " × ".join(texts) + f" {unit}" if texts else ""


def printable(text: str) -> str:
    """Return the text with non-printable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
