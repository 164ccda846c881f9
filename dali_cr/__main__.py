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

The exit code is 0, 2 after an error with one line on stderr, or 130 (Ctrl-C) or 143 (SIGTERM) with one that says what
was written.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import dali_cr
from dali_cr.index.volumes import counted
from dali_cr.pipeline.advice import warnings_as_lines
from dali_cr.system.account import complete_account
from dali_cr.system.console import print_anything
from dali_cr.system.interrupt import START_AGAIN, Outputs, describe_stop, terminated_raises
from dali_cr.system.owner import own_file, own_folder
from dali_cr.tools import scanning, training
from dali_cr.tools.conversion import Conversion
from dali_cr.tools.importers.formats import Format
from dali_cr.tools.recipe_options import add_recipe, recipe_of
from dali_cr.volume.packed.writer import LEVEL

_FINISHED = {
    "pack": ("finished stores are kept", "the same command continues"),
    "import": ("finished stores are kept", "the same command continues"),
    "unpack": ("finished files are kept", START_AGAIN),
    "phantom": ("finished files are kept", START_AGAIN),
}
"""What is on the disk after Ctrl-C or SIGTERM, and how to continue, for commands that write many files."""

_FILES = ("save", "qc", "save_nnssl", "out")
"""Options that are output files, of the other commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in training.COMMANDS:
        return training.run_training(words[0], words[1:])
    print_anything()
    complete_account()
    chosen = _parser().parse_args(words)
    outputs = Outputs()
    outputs.add(*(path for name in _FILES if (path := getattr(chosen, name, None))))
    try:
        with terminated_raises(), warnings_as_lines():
            chosen.command(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"dali_cr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        line, code = describe_stop(stop, *_FINISHED.get(chosen.name, (str(outputs), START_AGAIN)))
        print(f"dali_cr: {line}", file=sys.stderr)
        return code
    return 0


def _doctor(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.doctor import report

    text, works = report()
    print(text)
    if not works:
        raise ValueError("doctor: expected a working installation, nothing can run for the reasons above")


def _preview(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.preview import check_preview, draw_preview

    with own_file(chosen.out):
        check_preview(chosen.sample, chosen.out)  # before files are read
        recipe = recipe_of(chosen)
        draw_preview(scanning.find(chosen), recipe, chosen.seed, chosen.sample, chosen.out)
    print(chosen.out)


def _pack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.pack import pack

    with _threads(chosen.jobs, "pack") as executor:
        options = {"exclude": chosen.exclude, "level": chosen.level, "keep_text": chosen.keep_text}
        _print(pack(chosen.source, chosen.out, executor=executor, **options), "pack")


def _unpack(chosen: argparse.Namespace) -> None:
    from dali_cr.tools.unpack import unpack

    with _threads(chosen.jobs, "unpack") as executor:
        _print(unpack(chosen.source, chosen.out, executor=executor), "unpack")


@contextmanager
def _threads(jobs: int | None, name: str) -> Iterator[ThreadPoolExecutor]:
    """Context of a thread pool, by default one thread per core; at its end, files that were not started are left."""
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    pool = ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Context of processes, which finish their file on Ctrl-C; at its end, files that were not started are left."""
    ignored = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), signal.signal, ignored)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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
    with _processes(chosen.jobs) as executor:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dali-cr", description="Self-supervised pre-training on medical volumes.")
    parser.add_argument("--version", action="version", version=f"dali-cr {dali_cr.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")

    command = commands.add_parser("scan", help="read every volume of a folder and print a summary")
    scanning.add_options(command)
    command.set_defaults(command=scanning.run_scan)

    command = commands.add_parser("preview", help="draw samples: target, input and swaps")
    scanning.add_data(command)
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="image file to write")
    command.add_argument("--sample", type=int, nargs="+", default=[0, 1, 2, 3], metavar="N", help="sample numbers")
    command.add_argument("--seed", type=int, default=0, help="seed of the samples")
    add_recipe(command)
    command.set_defaults(command=_preview)

    _add_packing(commands)

    command = commands.add_parser("doctor", help="check the installation and this machine")
    command.set_defaults(command=_doctor)

    command = commands.add_parser("phantom", help="write synthetic volumes for tests")
    command.add_argument("folder", type=Path)
    command.add_argument("--images", action="store_true", help="write PNG slices of H × W pixels instead of volumes")
    command.add_argument("--count", type=int, default=24, help="number of volumes or slices")
    command.add_argument("--shape", type=int, nargs=3, default=[48, 56, 52], metavar=("D", "H", "W"))
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(command=_phantom)

    _add_import(commands)
    for name, help_ in training.COMMANDS.items():
        commands.add_parser(name, help=help_)  # parsed by the command itself
    return parser


def _add_packing(commands: Any) -> None:
    """Add the commands `pack` and `unpack`."""
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


def _add_import(commands: Any) -> None:
    """Add the command `import`."""
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


if __name__ == "__main__":
    sys.exit(main())
