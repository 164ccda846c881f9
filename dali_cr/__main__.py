"""``dali-cr`` or ``python -m dali_cr``: look at data, and start the training commands.

::

    python -m dali_cr scan scans/ --save scans.json
    python -m dali_cr scan bids/ --layout bids --channels T1w
    python -m dali_cr preview scans/ -o preview.png --crop 32 64 64 --patch 4 8
    python -m dali_cr preview scans/ -o preview.png --recipe pcrlv2 --normalize percentile
    python -m dali_cr preview scans/ -o preview.png --crop 1 224 224 --slices-axis D --slices-every 3
    python -m dali_cr preview pictures/ --pattern "**/*.png" -o preview.png --crop 1 224 288
    python -m dali_cr pack scans/ packed/
    python -m dali_cr unpack packed/ scans-again/
    python -m dali_cr import dicom/ stores/
    python -m dali_cr phantom phantoms/
    python -m dali_cr doctor
    dali-cr pretrain --help

The exit code is 0, or 2 with one line on stderr where something impossible was asked for.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import dali_cr
from dali_cr.index.cases import Index
from dali_cr.index.layout.listing import Layout
from dali_cr.index.report import describe
from dali_cr.index.scan import scan
from dali_cr.index.volumes import counted
from dali_cr.pipeline.advice import warnings_as_lines
from dali_cr.recipe.restoration import Pretext, Restoration
from dali_cr.recipe.slices import ORDERS, Slices
from dali_cr.recipe.swap import Swap
from dali_cr.recipe.views import Views
from dali_cr.system.account import complete_account
from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_file, own_folder
from dali_cr.tools import training
from dali_cr.tools.conversion import Conversion
from dali_cr.tools.importers.formats import Format
from dali_cr.volume.packed.writer import LEVEL


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in training.COMMANDS:
        return training.run_training(words[0], words[1:])
    print_anything()
    complete_account()
    chosen = _parser().parse_args(words)
    try:
        with warnings_as_lines():
            chosen.command(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"dali_cr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dali_cr: stopped by SIGINT; the same command starts again", file=sys.stderr)
        return 130
    return 0


def _find(chosen: argparse.Namespace, known: Index | None = None) -> Index:
    return scan(
        chosen.data,
        chosen.pattern,
        layout=chosen.layout,
        channels=chosen.channels,
        include=chosen.include,
        exclude=chosen.exclude,
        fourth_axis=chosen.fourth_axis,
        known=known,
    )


def _scan(chosen: argparse.Namespace) -> None:
    if chosen.window and not chosen.window[0] < chosen.window[1]:
        raise ValueError(f"window: expected LOW below HIGH, got {chosen.window[0]:g} {chosen.window[1]:g}")
    if chosen.save:  # what cannot be written is said before hours of reading
        chosen.save.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(chosen.save.parent, os.W_OK):
            raise PermissionError(f"save: expected a folder to write {chosen.save} to, may not write there")
    with own_file(chosen.save) if chosen.save else nullcontext():
        index = _find(chosen, _known(chosen))
        print(describe(index, tuple(chosen.window) if chosen.window else None))
        if not index.cases:
            raise ValueError("scan: expected at least one volume to use, every file was refused for the reasons above")
        if chosen.save:
            index.save(chosen.save)


def _known(chosen: argparse.Namespace) -> Index | None:
    """Return what an earlier scan left in the file to save to."""
    if chosen.fresh or not chosen.save or not chosen.save.exists():
        return None
    try:
        return Index.load(chosen.save)
    except ValueError as error:
        raise ValueError(f"{error}; give --fresh to replace the file") from error


def _doctor(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.doctor import report

    text, works = report()
    print(text)
    if not works:
        raise ValueError("doctor: nothing can run here for the reasons above")


def _preview(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.preview import draw_preview

    with own_file(chosen.out):
        draw_preview(_find(chosen), _recipe(chosen), chosen.seed, chosen.sample, chosen.out)
    print(chosen.out)


def _recipe(chosen: argparse.Namespace) -> Restoration | Views:
    """Return the recipe that the options stand for."""
    if chosen.recipe == "pcrlv2":
        plain = {"normalize": _normalize(chosen.normalize)} if chosen.normalize else {}
        return Views(foreground=chosen.foreground, spacing=chosen.spacing, **plain)
    return Restoration(
        crop=tuple(chosen.crop),
        swap=Swap(iterations=chosen.iterations, patch=_patch(chosen.patch), overlap=not chosen.each_patch_once),
        normalize=_normalize(chosen.normalize or ["zscore"]),
        foreground=chosen.foreground,
        slices=_slices(chosen),
        spacing=chosen.spacing,
        pretext=chosen.pretext,
        mask_ratio=chosen.mask_ratio,
        mask_block=_block(chosen.mask_block),
    )


def _block(numbers: list[int]) -> Any:
    """Return the block that one or three numbers stand for."""
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _slices(chosen: argparse.Namespace) -> Slices | None:
    """Return the slices that the options stand for."""
    if chosen.slices_axis:
        return Slices(chosen.slices_axis, chosen.slices_every, skip_empty=not chosen.slices_empty)
    if chosen.slices_every != 1 or chosen.slices_empty:
        raise ValueError("slices: expected --slices-axis D, H or W beside the other options of slices, got none")
    return None


def _pack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.pack import pack

    with _threads(chosen.jobs, "pack") as executor:
        options = {"exclude": chosen.exclude, "level": chosen.level, "keep_text": chosen.keep_text}
        _tell(pack(chosen.source, chosen.out, executor=executor, **options), "pack")


def _unpack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.unpack import unpack

    with _threads(chosen.jobs, "unpack") as executor:
        _tell(unpack(chosen.source, chosen.out, executor=executor), "unpack")


def _threads(jobs: int | None, name: str) -> ThreadPoolExecutor:
    """Return so many threads, one a core without a number."""
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    return ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), name)


def _tell(done: Conversion, name: str) -> None:
    """Print what became of files; raise ValueError if some were refused."""
    print(done)
    if done.problems:
        raise ValueError(f"{name}: {counted(len(done.problems), 'file')} refused, for the reasons above")


def _import(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.importers.run import import_volumes

    if chosen.jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {chosen.jobs}")
    # Processes: pydicom holds the GIL, and a file that kills one costs none of the others. Forked threads may lock up.
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as executor:
        imported = import_volumes(
            chosen.source,
            chosen.out,
            format=chosen.format,
            spacing=tuple(chosen.spacing) if chosen.spacing else None,
            plans=chosen.plans,
            level=chosen.level,
            executor=executor,
        )
    print(imported)
    if chosen.report:
        imported.save(chosen.report)
    if not imported.files:
        raise ValueError("import: expected at least one volume, all were refused for the reasons above")


def _phantom(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.phantom_files import write_images, write_phantoms

    with own_folder(chosen.folder):
        if chosen.images:
            _, height, width = chosen.shape
            write_images(chosen.folder, count=chosen.count, shape=(height, width), seed=chosen.seed)
        else:
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
        raise ValueError(
            f"normalize: expected zscore, zscore-image, percentile, none or window LOW HIGH, got {' '.join(words)}"
        )
    return None if words[0] == "none" else words[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dali-cr", description="Self-supervised pre-training on medical volumes.")
    parser.add_argument("--version", action="version", version=f"dali-cr {dali_cr.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("scan", help="read every volume of a folder and say what was found")
    _add_data(command)
    command.add_argument(
        "--save", type=Path, metavar="FILE", help="keep the index, for Index.load; files it knows are not read again"
    )
    command.add_argument(
        "--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="print how much of the foreground it clips"
    )
    command.add_argument(
        "--fresh", "--verify", action="store_true", help="read every file, whatever FILE knows, and check its checksums"
    )
    command.set_defaults(command=_scan)

    command = commands.add_parser("preview", help="draw samples: target, input, and the swaps")
    _add_data(command)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the picture")
    command.add_argument("--sample", type=int, nargs="+", default=[0, 1, 2, 3], metavar="N", help="sample numbers")
    command.add_argument("--seed", type=int, default=0, help="of the samples")
    _add_recipe(command)
    command.set_defaults(command=_preview)

    command = commands.add_parser(
        "pack", help="rewrite volumes as brick stores, of which a crop is read without the rest"
    )
    command.add_argument("source", type=Path, help="a folder, or an index that scan saved")
    command.add_argument("out", type=Path, help="folder for the stores; what an earlier run packed is kept")
    command.add_argument("--exclude", nargs="+", default=[], metavar="GLOB", help="files to exclude")
    command.add_argument("--level", type=int, default=5, metavar="N", help="of the compression, 1 to 12")
    command.add_argument("--keep-text", action="store_true", help="keep the free text of headers: it may name patients")
    command.add_argument("--jobs", type=int, metavar="N", help="files at a time; one a core without it")
    command.set_defaults(command=_pack)

    command = commands.add_parser("unpack", help="write the volumes of brick stores as NIfTI again")
    command.add_argument("source", type=Path, help="a folder of stores, or one")
    command.add_argument("out", type=Path, help="folder for the files; those of the same names are overwritten")
    command.add_argument("--jobs", type=int, metavar="N", help="files at a time; one a core without it")
    command.set_defaults(command=_unpack)

    command = commands.add_parser("doctor", help="say what works on this machine, what does not, and what to do")
    command.set_defaults(command=_doctor)

    command = commands.add_parser("phantom", help="write synthetic volumes to try things on")
    command.add_argument("folder", type=Path)
    command.add_argument("--images", action="store_true", help="PNG slices of H × W pixels, not volumes")
    command.add_argument("--count", type=int, default=24, help="volumes, or images")
    command.add_argument("--shape", type=int, nargs=3, default=[48, 56, 52], metavar=("D", "H", "W"))
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(command=_phantom)

    command = commands.add_parser("import", help="write DICOM series and volumes of other formats as brick stores")
    command.add_argument("source", type=Path, metavar="SOURCE", help="a folder of files")
    command.add_argument("out", type=Path, metavar="OUT", help="the folder of stores; finished ones stay")
    command.add_argument("--format", choices=("auto", *get_args(Format)), default="auto", help="only files of this one")
    command.add_argument(
        "--spacing", type=float, nargs=3, metavar=("D", "H", "W"), help="mm of the voxels of .npy and .b2nd files"
    )
    command.add_argument("--plans", type=Path, metavar="FILE", help="nnU-Net's plans, which have the spacing of .b2nd")
    command.add_argument(
        "--level", type=int, choices=range(1, 13), default=LEVEL, metavar="N", help="of LZ4HC, 1 to 12"
    )
    command.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes")
    command.add_argument("--report", type=Path, metavar="FILE", help="keep as JSON which store is of which file")
    command.set_defaults(command=_import)

    for name, help_ in training.COMMANDS.items():
        commands.add_parser(name, help=help_)  # listed here, parsed by the command itself
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data", type=Path, nargs="+", metavar="DIR", help="folders of volumes, or a CSV file: path, case, channel"
    )
    command.add_argument(
        "--pattern", nargs="+", default=(), metavar="GLOB", help="which files; {case} and {channel} are names"
    )
    command.add_argument(
        "--layout", choices=get_args(Layout), default="auto", help="what makes cases of files without a pattern"
    )
    command.add_argument("--channels", nargs="+", default=(), metavar="NAME", help="what {channel} must be, in order")
    command.add_argument("--include", nargs="+", default=(), metavar="GLOB", help="files to take as well")
    command.add_argument("--exclude", nargs="+", default=(), metavar="GLOB", help="files to exclude")
    command.add_argument("--fourth-axis", choices=("channels", "cases"), default="channels", help="what it is")


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--recipe", choices=("restoration", "pcrlv2"), default="restoration", help="pairs of crops, or several views"
    )
    command.add_argument(
        "--spacing", type=float, nargs=3, metavar=("D", "H", "W"), help="mm of the voxels that crops or boxes are of"
    )
    command.add_argument("--crop", type=int, nargs=3, default=[64, 64, 64], metavar=("D", "H", "W"))
    command.add_argument("--slices-axis", choices=tuple(ORDERS), help="samples are crops of slices across this axis")
    command.add_argument("--slices-every", type=int, default=1, metavar="N", help="every so many slices")
    command.add_argument("--slices-empty", action="store_true", help="slices without foreground too")
    command.add_argument("--iterations", type=int, default=100, help="swaps of two patches")
    command.add_argument(
        "--patch",
        type=int,
        nargs="+",
        default=[4, 16],
        metavar="N",
        help="edges: one number, lowest and highest, D H W, or lowest and highest of each",
    )
    command.add_argument("--each-patch-once", action="store_true", help="no two patches of a sample overlap")
    command.add_argument("--pretext", choices=get_args(Pretext), default="swap", help="what is done to a crop")
    command.add_argument("--mask-ratio", type=float, default=0.75, help="share of the blocks that --pretext mae masks")
    command.add_argument(
        "--mask-block", type=int, nargs="+", default=[16], metavar="N", help="edge of a block, or D H W"
    )
    command.add_argument(
        "--normalize",
        nargs="+",
        metavar="HOW",
        help="zscore, zscore-image, percentile, none, or window LOW HIGH; pcrlv2: -1000 1000",
    )
    command.add_argument("--foreground", type=float, default=0.9, help="probability of a crop centred on foreground")


if __name__ == "__main__":
    sys.exit(main())
