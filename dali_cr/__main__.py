"""``python -m dali_cr``: look at data before training on them.

::

    python -m dali_cr scan scans/ --save scans.json
    python -m dali_cr preview scans/ -o preview.png --crop 32 64 64 --patch 4 8
    python -m dali_cr phantom phantoms/

The exit code is 0, or 2 with one line on stderr where something impossible was asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dali_cr.index import Index
from dali_cr.recipe import Restoration, Swap
from dali_cr.scan import EVERY_VOLUME, scan

_SHOWN = 8
"""Most values of one property that the table lists."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.command(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"dali_cr: {error}", file=sys.stderr)
        return 2
    return 0


def describe(index: Index) -> str:
    """Return a table of what an index holds: one property a line, then the refused files with their reasons.

    Parameters
    ----------
    index : Index

    Returns
    -------
    table : str
    """
    volumes = [volume for case in index.cases for volume in case.volumes]
    lines = [
        ("root", str(index.root)),
        ("cases", str(len(index))),
        ("channels", _count(len(case.volumes) for case in index.cases)),
    ]
    if index.channel_names:
        lines.append(("", " ".join(index.channel_names)))
    lines += [
        ("shape", _shapes([case.shape for case in index.cases])),
        ("dtype", _count(volume.dtype for volume in volumes)),
        ("orientation", _count(volume.orientation for volume in volumes)),
        ("spacing", _span([volume.spacing for volume in volumes], "mm")),
        ("refused", str(len(index.problems))),
    ]
    lines += [("", f"{problem.path}: {problem.reason}") for problem in index.problems]
    return "\n".join(f"{name:<12} {text}".rstrip() for name, text in lines)


def _count(values: Iterable[object]) -> str:
    """Return the values with how often they occur, the most frequent first."""
    counts = Counter(map(str, values)).most_common()
    texts = [value if len(counts) == 1 else f"{value} ({times})" for value, times in counts[:_SHOWN]]
    return ", ".join(texts) + (f", and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _shapes(shapes: list[tuple[int, int, int]]) -> str:
    """Return the shapes with how often they occur, or where they are many, their range."""
    if len(set(shapes)) > _SHOWN:
        return _span(shapes, "voxels")
    return _count(" × ".join(map(str, shape)) for shape in shapes)


def _span(triples: Sequence[tuple[float, float, float]], unit: str) -> str:
    """Return the range along each of D, H and W."""
    texts = []
    for numbers in zip(*triples, strict=True):
        low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
        texts.append(low if low == high else f"{low} to {high}")
    return " × ".join(texts) + f" {unit}" if texts else ""


def _find(chosen: argparse.Namespace) -> Index:
    return scan(
        chosen.data,
        chosen.pattern,
        channels=chosen.channels,
        include=chosen.include,
        exclude=chosen.exclude,
        fourth_axis=chosen.fourth_axis,
    )


def _scan(chosen: argparse.Namespace) -> None:
    index = _find(chosen)
    print(describe(index))
    if not index.cases:
        raise ValueError("scan: wanted at least one volume to use, every file was refused for the reasons above")
    if chosen.save:
        chosen.save.parent.mkdir(parents=True, exist_ok=True)
        index.save(chosen.save)


def _preview(chosen: argparse.Namespace) -> None:
    from dali_cr.preview import draw_preview

    recipe = Restoration(
        crop=tuple(chosen.crop),
        swap=Swap(iterations=chosen.iterations, patch=_patch(chosen.patch)),
        normalize=_normalize(chosen.normalize),
        foreground=chosen.foreground,
    )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    draw_preview(_find(chosen), recipe, chosen.seed, chosen.sample, chosen.out)
    print(chosen.out)


def _phantom(chosen: argparse.Namespace) -> None:
    from dali_cr.phantom import write_phantoms

    write_phantoms(chosen.folder, count=chosen.count, shape=tuple(chosen.shape), seed=chosen.seed)
    print(chosen.folder)


def _patch(numbers: list[int]) -> Any:
    """Return the patch that one, two, three or six numbers stand for."""
    if len(numbers) == 6:
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _normalize(words: list[str]) -> Any:
    """Return the normalisation that the words stand for."""
    if words[0] == "window" and len(words) == 3:
        return "window", float(words[1]), float(words[2])
    if len(words) > 1:
        raise ValueError(f"normalize: wanted zscore, percentile, none or window LOW HIGH, got {' '.join(words)}")
    return None if words[0] == "none" else words[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dali_cr", description="Look at data before training on them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("scan", help="read every volume of a folder and say what was found")
    _add_data(command)
    command.add_argument("--save", type=Path, metavar="FILE", help="keep the index, for Index.load")
    command.set_defaults(command=_scan)

    command = commands.add_parser("preview", help="draw samples: target, disordered, and the swaps")
    _add_data(command)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the picture")
    command.add_argument("--sample", type=int, nargs="+", default=[0, 1, 2, 3], metavar="N", help="sample numbers")
    command.add_argument("--seed", type=int, default=0, help="of the samples")
    _add_recipe(command)
    command.set_defaults(command=_preview)

    command = commands.add_parser("phantom", help="write synthetic volumes to try things on")
    command.add_argument("folder", type=Path)
    command.add_argument("--count", type=int, default=24, help="volumes")
    command.add_argument("--shape", type=int, nargs=3, default=[48, 56, 52], metavar=("D", "H", "W"))
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(command=_phantom)
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", type=Path, nargs="+", metavar="DIR", help="folders of volumes")
    command.add_argument(
        "--pattern", nargs="+", default=EVERY_VOLUME, metavar="GLOB", help="which files; {case} and {channel} are names"
    )
    command.add_argument("--channels", nargs="+", default=(), metavar="NAME", help="what {channel} must be, in order")
    command.add_argument("--include", nargs="+", default=(), metavar="GLOB", help="files to take as well")
    command.add_argument("--exclude", nargs="+", default=(), metavar="GLOB", help="files to leave out")
    command.add_argument("--fourth-axis", choices=("channels", "cases"), default="channels", help="what it is")


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("--crop", type=int, nargs=3, default=[64, 64, 64], metavar=("D", "H", "W"))
    command.add_argument("--iterations", type=int, default=100, help="swaps of two patches")
    command.add_argument(
        "--patch",
        type=int,
        nargs="+",
        default=[4, 16],
        metavar="N",
        help="edges: one number, lowest and highest, D H W, or lowest and highest of each",
    )
    command.add_argument(
        "--normalize", nargs="+", default=["zscore"], metavar="HOW", help="zscore, percentile, none, or window LOW HIGH"
    )
    command.add_argument("--foreground", type=float, default=0.9, help="probability of a crop centred on foreground")


if __name__ == "__main__":
    sys.exit(main())
