"""Use Loaders, leave them in different states, fork workers, and check that none hangs or is killed.

::

    python -m tests.manual.forks --rounds 200 --seed 0

Each round uses a Loader, then drops it, closes it, leaves it in a reference cycle or continues with it, and forks
workers that collect garbage, import large modules, drop or close inherited objects, or run as workers of a torch
DataLoader. Prints one line, and exits with 1 if a worker hung or was killed.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import gc
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nvidia.dali import fn, pipeline_def

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.recipes import VIEWS

_PATIENCE = 300.0
"""Seconds after which a worker counts as hanging."""

_BEAT = 0.05

PAIRS = dali_cr.Restoration(crop=(8, 8, 8), swap=dali_cr.Swap(iterations=2, patch=2))

held: list[Any] = []
"""Objects that the parent keeps using and the children inherit."""


class Numbers(torch.utils.data.Dataset[int]):
    """A small data set whose items run the garbage collector."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, item: int) -> int:
        gc.collect()
        return item


def collect() -> None:
    """Collect garbage, three times over."""
    for _ in range(3):
        gc.collect()


def import_modules() -> None:
    """Import the modules of a validation worker."""
    for name in ("sqlite3", "xml.dom.minidom", "email.mime.multipart", "unittest.mock", "scipy.stats", "monai.losses"):
        __import__(name)
    gc.collect()


def let_go() -> None:
    """Close or drop inherited objects."""
    for loader in held:
        if isinstance(loader, dali_cr.Loader) and random.random() < 0.5:
            loader.close()
    held.clear()
    gc.collect()


def exit_normally() -> None:
    """Exit the process as usual, with all registered exit functions."""
    held.clear()
    sys.exit(0)


def use(index: dali_cr.Index, chance: random.Random) -> None:
    """Read a few batches of a new Loader, and leave it in one of several states."""
    recipe = chance.choice([PAIRS, PAIRS, VIEWS])
    loader = dali_cr.Loader(
        index,
        recipe,
        batch_size=chance.randint(1, 4),
        device="cpu",
        prefetch=chance.randint(1, 3),
        cache=chance.choice([(), "host:1MB"]),
    )
    batches = [batch for _, batch in zip(range(chance.randint(0, 6)), loader.stream(), strict=False)]
    ending = chance.choice(["drop", "close", "cycle", "keep", "keep tensors"])
    if ending == "close":
        loader.close()
    elif ending == "cycle":
        ring: list[Any] = [loader, batches]
        ring.append(ring)
    elif ending == "keep":
        held.append(loader)
    elif ending == "keep tensors":
        held.append(batches)
    while len(held) > 3:
        held.pop(0)


@pipeline_def(batch_size=2, num_threads=1, device_id=None)
def own_pipeline(index: dali_cr.Index) -> Any:
    """Return a user-defined pipeline with operators of `dali_cr.fn`."""
    raw, records, swaps, sample = dali_cr.fn.read_samples(index, PAIRS, batch_size=2)
    target = dali_cr.fn.decode_volume(raw, records, PAIRS.crop)
    return dali_cr.fn.swap_patches(fn.copy(target), swaps), target, sample


def use_pipeline(index: dali_cr.Index, chance: random.Random) -> None:
    """Run a user-defined pipeline, and leave it in a reference cycle or drop it."""
    pipe = own_pipeline(index)
    pipe.build()
    pipe.run()
    if chance.random() < 0.5:
        ring: list[Any] = [pipe]
        ring.append(ring)


def fork(count: int, work: Callable[[], None]) -> list[str]:
    """Run a function in forked processes; return their failures."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    wrong = []
    for worker in workers:
        worker.join(_PATIENCE)
        if worker.exitcode is None:
            assert worker.pid
            os.kill(worker.pid, signal.SIGUSR1)  # it writes its stack to stderr
            time.sleep(1)
            worker.kill()
            wrong.append(f"{work.__name__} hangs")
        elif worker.exitcode:
            wrong.append(f"{work.__name__}: exit code {worker.exitcode}")
    return wrong


def fork_bare() -> list[str]:
    """Fork a child with `os.fork` that exits as usual."""
    child = os.fork()
    if child == 0:
        exit_normally()
    for _ in range(int(_PATIENCE / _BEAT)):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return [f"bare child, exit code {os.waitstatus_to_exitcode(status)}"] if status else []
        time.sleep(_BEAT)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return ["bare child hangs"]


def run(rounds: int, seed: int, index: dali_cr.Index) -> int:
    """Return the number of workers that hung or were killed."""
    chance, wrong = random.Random(seed), collections.Counter[str]()
    faulthandler.register(signal.SIGUSR1)
    gc.disable()  # so that the garbage still exists when the workers are forked
    for _ in range(rounds):
        use(index, chance)
        if chance.random() < 0.2:
            use_pipeline(index, chance)
        kind = chance.choice([collect, import_modules, let_go, "torch", "bare"])
        if kind == "torch":
            loader = torch.utils.data.DataLoader(Numbers(), num_workers=2, timeout=_PATIENCE)
            assert sum(int(item) for item in loader) == 28
        elif kind == "bare":
            wrong.update(fork_bare())
        else:
            wrong.update(fork(2, kind))
        if chance.random() < 0.2:
            gc.collect()
    held.clear()
    gc.enable()
    print(f"{rounds} rounds, {dict(wrong) or 'no worker hung or was killed'}")
    return sum(wrong.values())


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Not a context manager, because a forked child would also leave it and remove the folder.
    folder = Path(tempfile.mkdtemp())
    write_phantoms(folder, count=4, shape=(20, 20, 20))
    wrong = run(arguments.rounds, arguments.seed, dali_cr.scan(folder / "images", progress=False))
    shutil.rmtree(folder)
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
