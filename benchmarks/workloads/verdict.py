"""Check whether a contender's corruption is a true swap, on a volume in which every voxel has a different value.

After true swaps, every value occurs once, and most moved voxels still have the same neighbour, since patches move as a
whole. Swapping overlapping patches loses some values and duplicates others; shuffling keeps all values but separates
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.workloads.workload import Triple

Corruption = Callable[[npt.NDArray[np.float32], int], npt.NDArray[np.float32]]
"""Maps a volume (D, H, W) and a seed to the corrupted volume."""

TOGETHER = 0.1
"""Threshold of the fraction of moved neighbours that stay together: swaps keep far more, shuffles almost none."""


def judge(corrupt: Corruption, shape: Triple, trials: int = 8) -> dict[str, Any]:
    """Classify a corruption by its outputs.

    Parameters
    ----------
    corrupt : callable
    shape : (3,) int
        The crop (D, H, W), at most 2**24 voxels, the limit of exact integers in float32.
    trials : int

    Returns
    -------
    dict
        swap : bool; verdict : str; trials, permutations : int; together : float, the fraction of moved neighbours that
        stayed neighbours.
    """
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    outputs = [np.asarray(corrupt(numbers.copy(), trial)) for trial in range(trials)]
    permutations = sum(np.array_equal(np.sort(output, axis=None), numbers.ravel()) for output in outputs)
    together = float(np.mean([_together(output, numbers) for output in outputs]))
    if permutations < trials:
        verdict = f"swap is not a permutation ({trials - permutations} of {trials} outputs)"
    elif together < TOGETHER:
        verdict = "not a swap: shuffles voxels"
    else:
        verdict = "true swap"
    found = {"verdict": verdict, "trials": trials, "permutations": permutations, "together": together}
    return {"swap": verdict == "true swap", **found}


def _together(output: npt.NDArray[np.float32], numbers: npt.NDArray[np.float32]) -> float:
    """Return the fraction of moved voxels whose next voxel along an axis is unchanged."""
    came = output.astype(np.int64)
    moved = output != numbers
    kept = count = 0
    for axis in range(3):
        if output.shape[axis] == 1:
            continue
        first, second = (np.delete(came, end, axis) for end in (-1, 0))
        both = np.delete(moved, -1, axis) & np.delete(moved, 0, axis)
        step = int(np.prod(output.shape[axis + 1 :]))
        kept += int(((second - first == step) & both).sum())
        count += int(both.sum())
    return kept / count if count else 0.0
