"""Kill `pack` with SIGKILL at random moments and check the stores: ``python -m tests.manual.kill_packing``."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import dali_cr
from dali_cr.volume.packed.store import Store
from tests.helpers.volumes import write_nifti


def run_and_kill(source: Path, out: Path, seed: int) -> None:
    """Start packing and kill it shortly after it wrote up to three more stores and started another."""
    command = [sys.executable, "-m", "dali_cr", "pack", str(source), str(out), "--jobs", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    draw = random.Random(seed)
    wanted = len(list(out.rglob("*.ozx"))) + draw.randint(0, 3)
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)
    while process.poll() is None and not (len(list(out.rglob("*.ozx"))) >= wanted and list(out.rglob("*.part"))):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> int:
    """Kill many runs, each resumed by the next; start again when all is packed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    chosen = parser.parse_args()
    rounds = stores = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        for number in range(20):
            numbers = np.random.default_rng(number).integers(0, 99, (100, 100, 60))
            write_nifti(source / f"{number}.nii.gz", numbers)
        for kill in range(chosen.count):
            out = Path(folder) / f"out{rounds}"
            run_and_kill(source, out, kill)
            found = sorted(out.rglob("*.ozx"))
            for path in found:
                Store(path).verify()
            stores += len(found)
            print(f"kill {kill}: {len(found)} stores, all whole", flush=True)
            if len(found) == 20:
                rounds += 1
        assert not dali_cr.pack(source, out, progress=False).problems
    print(f"{chosen.count} kills, {stores} stores checked, none damaged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
