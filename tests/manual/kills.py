"""Kill a training run with SIGKILL at random moments, resume it, and compare its weights with an uninterrupted run's.

::

    python -m tests.manual.kills --count 50 --seed 0

The run saves at every second step, so that many kills hit the writing of a checkpoint. Prints one line per finished
run, and exits with 1 if weights differ.
"""

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

from dali_cr.tools.phantom_files import write_phantoms

_WEIGHTS = ("model.safetensors", "encoder.safetensors")


def start(data: Path, out: Path, steps: int) -> subprocess.Popen[bytes]:
    """Start or resume a run."""
    settings = "--crop 16 16 16 --patch 2 4 --iterations 8 --filters 4 --batch-size 2 --held-out 0.2 --device cpu"
    every = "--checkpoint-every 2 --evaluate-every 1000 --evaluate-samples 2 --log-every 1 --threads 2 --resume"
    command = [sys.executable, "-m", "train.pretrain", "--data", str(data), "--out", str(out), "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *settings.split(), *every.split()], env=environment, **quiet)


def weights(out: Path) -> list[bytes]:
    """Return the bytes of the exported weights."""
    return [(out / name).read_bytes() for name in _WEIGHTS]


def run_and_kill(data: Path, out: Path, steps: int, limit: int, delays: random.Random) -> int:
    """Run to the end with at most `limit` kills during training; return the number of kills."""
    kills = 0
    while True:
        process = start(data, out, steps)
        while kills < limit and process.poll() is None and not (out / "checkpoint.pt").exists():
            time.sleep(0.01)
        if kills < limit:
            before = (out / "checkpoint.pt").stat().st_mtime_ns if (out / "checkpoint.pt").exists() else 0
            while process.poll() is None and (out / "checkpoint.pt").stat().st_mtime_ns == before:
                time.sleep(0.001)
            time.sleep(delays.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return kills
        kills += 1


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="kills in all")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    delays, done, differing, run = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_phantoms(data, count=6, shape=(20, 22, 24), seed=1)
        whole = Path(folder) / "whole"
        start(data / "images", whole, options.steps).wait()
        while done < options.count:
            out, run = Path(folder) / f"run{run}", run + 1
            kills = run_and_kill(data / "images", out, options.steps, options.count - done, delays)
            same = weights(out) == weights(whole)
            differing += not same
            done += kills
            print(f"run {run}: {kills} kills, weights {'the same' if same else 'DIFFER'}", flush=True)
    print(f"{done} kills in {run} runs, {differing} runs with other weights")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
