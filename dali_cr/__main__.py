"""``dali-cr`` or ``python -m dali_cr``: commands for data, and the training commands.

::

    python -m dali_cr scan scans/ --save scans.json
    python -m dali_cr scan bids/ --layout bids --channels T1w
    python -m dali_cr scan scans/ --qc exclude.csv
    python -m dali_cr scan scans/ --exclude-from exclude.csv --save scans.json
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

The exit code is 0, or 2 after an error with one line on stderr.
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
from dali_cr.index.corpus.nnssl import write_collection
from dali_cr.index.corpus.quality import (
    EMPTY,
    Z,
    describe_exclusions,
    find_exclusions,
    read_exclusions,
    write_exclusions,
)
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
    reasons = [read_exclusions(path) for path in chosen.exclude_from]
    index = scan(
        chosen.data,
        chosen.pattern,
        layout=chosen.layout,
        channels=chosen.channels,
        include=chosen.include,
        exclude=chosen.exclude,
        fourth_axis=chosen.fourth_axis,
        known=known,
    )
    return index.exclude({name: reason for some in reasons for name, reason in some.items()}) if reasons else index


def _scan(chosen: argparse.Namespace) -> None:
    if chosen.window and not chosen.window[0] < chosen.window[1]:
        raise ValueError(f"window: expected LOW below HIGH, got {chosen.window[0]:g} {chosen.window[1]:g}")
    if chosen.save:  # fail before hours of reading
        chosen.save.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(chosen.save.parent, os.W_OK):
            raise PermissionError(f"save: expected a writable folder, got {chosen.save.parent}")
    if chosen.qc and chosen.qc.exists():
        raise FileExistsError(f"qc: expected a new file, {chosen.qc} is there and may have been edited; remove it")
    with own_file(chosen.save) if chosen.save else nullcontext():
        index = _find(chosen, _known(chosen))
        print(describe(index, tuple(chosen.window) if chosen.window else None))
        if not index.cases:
            raise ValueError("scan: expected at least one valid volume, every file was refused for the reasons above")
        if chosen.save:
            index.save(chosen.save)
        if chosen.save_nnssl:
            write_collection(index, chosen.save_nnssl, chosen.save_nnssl.absolute().parent.name)
        if chosen.qc:
            _check_quality(index, chosen)


def _check_quality(index: Index, chosen: argparse.Namespace) -> None:
    """Write which cases may be better left out, and say how many."""
    found = find_exclusions(index, z=chosen.qc_z, empty=chosen.qc_empty)
    write_exclusions(chosen.qc, found)
    for number, line in enumerate(describe_exclusions(index, found)):
        print(f"{'quality' * (not number):<12} {line}")
    if found:
        print(f"{'':<12} all of them in {chosen.qc}; remove rows to keep, then scan with --exclude-from {chosen.qc}")


def _known(chosen: argparse.Namespace) -> Index | None:
    """Return the index of an earlier scan in the file to save to, or None."""
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
        raise ValueError("doctor: expected a working installation, nothing can run for the reasons above")


def _preview(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.preview import draw_preview

    with own_file(chosen.out):
        draw_preview(_find(chosen), _recipe(chosen), chosen.seed, chosen.sample, chosen.out)
    print(chosen.out)


def _recipe(chosen: argparse.Namespace) -> Restoration | Views:
    """Build the recipe from the options."""
    if chosen.recipe == "pcrlv2":
        options = {"normalize": _normalize(chosen.normalize)} if chosen.normalize else {}
        return Views(foreground=chosen.foreground, spacing=chosen.spacing, **options)
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
        degrees=chosen.rotate,
        scale=tuple(chosen.scale),
        affine_probability=chosen.augment_probability,
        noise=chosen.noise,
        gamma=chosen.gamma,
        intensity_probability=chosen.augment_probability,
    )


def _block(numbers: list[int]) -> Any:
    """Parse a block from one or three numbers."""
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _slices(chosen: argparse.Namespace) -> Slices | None:
    """Build the slices from the options."""
    if chosen.slices_axis:
        return Slices(chosen.slices_axis, chosen.slices_every, skip_empty=not chosen.slices_empty)
    if chosen.slices_every != 1 or chosen.slices_empty:
        raise ValueError("--slices-axis: expected D, H or W with the other options of slices, got none")
    return None


def _pack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.pack import pack

    with _threads(chosen.jobs, "pack") as executor:
        options = {"exclude": chosen.exclude, "level": chosen.level, "keep_text": chosen.keep_text}
        _print(pack(chosen.source, chosen.out, executor=executor, **options), "pack")


def _unpack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.unpack import unpack

    with _threads(chosen.jobs, "unpack") as executor:
        _print(unpack(chosen.source, chosen.out, executor=executor), "unpack")


def _threads(jobs: int | None, name: str) -> ThreadPoolExecutor:
    """Return a thread pool; default: one thread per core."""
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    return ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), name)


def _print(done: Conversion, name: str) -> None:
    """Print the result of a conversion; raise ValueError if files were refused."""
    print(done)
    if done.problems:
        raise ValueError(f"{name}: {counted(len(done.problems), 'file')} refused, for the reasons above")


def _import(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.importers.run import import_volumes

    if chosen.jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {chosen.jobs}")
    # Processes, because pydicom holds the GIL and a file may crash its worker; spawned, because threads may deadlock.
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
    """Parse a patch from one, two, three or six numbers."""
    if len(numbers) == 6:
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _normalize(words: list[str]) -> Any:
    """Parse the normalisation from the words of the option."""
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

    command = commands.add_parser("scan", help="read every volume of a folder and print a summary")
    _add_data(command)
    command.add_argument(
        "--save", type=Path, metavar="FILE", help="save the index; unchanged files in it are not read again"
    )
    command.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="print the share of the foreground that this window clips",
    )
    command.add_argument(
        "--fresh", "--verify", action="store_true", help="read every file again and verify its checksums"
    )
    command.add_argument(
        "--qc", type=Path, metavar="OUT.csv", help="list duplicates, outliers of intensity and spacing, empty volumes"
    )
    command.add_argument("--qc-z", type=float, default=Z, metavar="Z", help="robust z-score of an outlier")
    command.add_argument(
        "--qc-empty", type=float, default=EMPTY, metavar="SHARE", help="of foreground, below which is empty"
    )
    command.add_argument(
        "--save-nnssl", type=Path, metavar="FILE", help="write a pretrain_data.json, called after its folder"
    )
    command.set_defaults(command=_scan)

    command = commands.add_parser("preview", help="draw samples: target, input and swaps")
    _add_data(command)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="image file to write")
    command.add_argument("--sample", type=int, nargs="+", default=[0, 1, 2, 3], metavar="N", help="sample numbers")
    command.add_argument("--seed", type=int, default=0, help="seed of the samples")
    _add_recipe(command)
    command.set_defaults(command=_preview)

    command = commands.add_parser("pack", help="convert volumes to brick stores, for fast reading of crops")
    command.add_argument("source", type=Path, help="folder, or index saved by scan")
    command.add_argument("out", type=Path, help="folder for the stores; finished stores are kept")
    command.add_argument("--exclude", nargs="+", default=[], metavar="GLOB", help="files to exclude")
    command.add_argument("--level", type=int, default=5, metavar="N", help="compression level, 1 to 12")
    command.add_argument("--keep-text", action="store_true", help="keep free text of headers, which may name patients")
    command.add_argument("--jobs", type=int, metavar="N", help="number of threads; default: one per core")
    command.set_defaults(command=_pack)

    command = commands.add_parser("unpack", help="convert brick stores back to NIfTI")
    command.add_argument("source", type=Path, help="store, or folder of stores")
    command.add_argument("out", type=Path, help="folder for the files; existing files are overwritten")
    command.add_argument("--jobs", type=int, metavar="N", help="number of threads; default: one per core")
    command.set_defaults(command=_unpack)

    command = commands.add_parser("doctor", help="check the installation and this machine")
    command.set_defaults(command=_doctor)

    command = commands.add_parser("phantom", help="write synthetic volumes for tests")
    command.add_argument("folder", type=Path)
    command.add_argument("--images", action="store_true", help="write PNG slices of H × W pixels instead of volumes")
    command.add_argument("--count", type=int, default=24, help="number of volumes or slices")
    command.add_argument("--shape", type=int, nargs=3, default=[48, 56, 52], metavar=("D", "H", "W"))
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(command=_phantom)

    command = commands.add_parser("import", help="convert DICOM series and other formats to brick stores")
    command.add_argument("source", type=Path, metavar="SOURCE", help="folder of files")
    command.add_argument("out", type=Path, metavar="OUT", help="folder for the stores; finished stores are kept")
    command.add_argument(
        "--format",
        choices=("auto", *get_args(Format)),
        default="auto",
        help="import this format only; default: all formats, by content",
    )
    command.add_argument(
        "--spacing", type=float, nargs=3, metavar=("D", "H", "W"), help="spacing of .npy and .b2nd files in mm"
    )
    command.add_argument("--plans", type=Path, metavar="FILE", help="nnU-Net's plans, with the spacing of .b2nd files")
    command.add_argument(
        "--level", type=int, choices=range(1, 13), default=LEVEL, metavar="N", help="compression level, 1 to 12"
    )
    command.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="number of processes; default: one per core",
    )
    command.add_argument("--report", type=Path, metavar="FILE", help="write a JSON file that maps stores to files")
    command.set_defaults(command=_import)

    for name, help_ in training.COMMANDS.items():
        commands.add_parser(name, help=help_)  # parsed by the command itself
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of volumes, a CSV file (path, case, channel) or a pretrain_data.json of nnssl",
    )
    command.add_argument(
        "--pattern", nargs="+", default=(), metavar="GLOB", help="globs of files, with {case} and {channel} as names"
    )
    command.add_argument(
        "--layout", choices=get_args(Layout), default="auto", help="how files become cases without a pattern"
    )
    command.add_argument("--channels", nargs="+", default=(), metavar="NAME", help="channels of a case, in order")
    command.add_argument("--include", nargs="+", default=(), metavar="GLOB", help="additional files, also labels")
    command.add_argument("--exclude", nargs="+", default=(), metavar="GLOB", help="files to exclude")
    command.add_argument(
        "--exclude-from", type=Path, nargs="+", default=(), metavar="CSV", help="cases to exclude, as --qc wrote them"
    )
    command.add_argument(
        "--fourth-axis", choices=("channels", "cases"), default="channels", help="meaning of the 4th axis of files"
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--recipe", choices=("restoration", "pcrlv2"), default="restoration", help="crop pairs or views"
    )
    command.add_argument(
        "--spacing", type=float, nargs=3, metavar=("D", "H", "W"), help="resample to this spacing in mm"
    )
    command.add_argument(
        "--crop", type=int, nargs=3, default=[64, 64, 64], metavar=("D", "H", "W"), help="crop size in voxels"
    )
    command.add_argument("--slices-axis", choices=tuple(ORDERS), help="use slices across this axis as samples")
    command.add_argument("--slices-every", type=int, default=1, metavar="N", help="use every N-th slice")
    command.add_argument("--slices-empty", action="store_true", help="include slices without foreground")
    command.add_argument("--iterations", type=int, default=100, help="number of swaps")
    command.add_argument(
        "--patch",
        type=int,
        nargs="+",
        default=[4, 16],
        metavar="N",
        help="edges of patches: N, LOW HIGH, D H W, or LOW HIGH for each of D H W",
    )
    command.add_argument("--each-patch-once", action="store_true", help="patches of a sample do not overlap")
    command.add_argument("--pretext", choices=get_args(Pretext), default="swap", help="how a crop is corrupted")
    command.add_argument("--mask-ratio", type=float, default=0.75, help="share of masked blocks with --pretext mae")
    command.add_argument(
        "--mask-block", type=int, nargs="+", default=[16], metavar="N", help="edges of a block: N, or D H W"
    )
    command.add_argument(
        "--normalize",
        nargs="+",
        metavar="HOW",
        help="zscore (default), zscore-image, percentile, none, or window LOW HIGH (pcrlv2: window -1000 1000)",
    )
    command.add_argument("--foreground", type=float, default=0.9, help="probability of a crop centred on foreground")
    command.add_argument("--rotate", type=float, default=0.0, metavar="DEGREES", help="about each axis, at most")
    command.add_argument("--scale", type=float, nargs=2, default=[1.0, 1.0], metavar=("LOW", "HIGH"), help="of content")
    command.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise in the input, at most")
    command.add_argument("--gamma", type=float, default=0.0, help="logarithm of the input's gamma, at most")
    command.add_argument(
        "--augment-probability", type=float, default=0.2, help="of each of rotation, scaling, noise and gamma"
    )


if __name__ == "__main__":
    sys.exit(main())
