"""Symmetric convolution along one axis: the compiled loops of `dali_cr.ops.blur`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_ZERO, _LEAST = np.float32(0), np.float32(2.0**-70)
"""Weights are multiples of 2**-30 and voxels are 0 or at least 2**-70, hence multiples of 2**-93. Products and sums are
multiples of 2**-123 and never subnormal; a GPU would flush subnormals and a CPU would not."""

_TOGETHER = 1 << 13
"""Number of padded voxels that are processed together; they fit into the L1 cache."""


@compiled
def blur_axis(volume: Floats, length: int, after: int, weights: Floats) -> None:
    """Blur (before, length, after) voxels along the middle axis, in place.

    Parts of the volume are copied to a buffer, row by row with padding, and summed in one flat loop. The sums at padded
    voxels are ignored.
    """
    radius = weights.size - 1
    padded_length, before = length + 2 * radius, volume.size // (length * after)
    wide = min(after, max(1, _TOGETHER // padded_length))
    deep = min(before, max(1, _TOGETHER // (padded_length * wide)))
    padded, sums = np.empty(deep * padded_length * wide, np.float32), np.empty(deep * padded_length * wide, np.float32)
    for first in range(0, before, deep):
        blocks = min(deep, before - first)
        for left in range(0, after, wide):
            columns = min(wide, after - left)
            # Complete rows are contiguous and are copied together.
            rows, each = (1, length * after) if columns == after else (length, columns)
            for block in range(blocks):
                source, target = (first + block) * length * after + left, block * padded_length * columns
                for row in range(rows):
                    _take(volume, source + row * after, each, padded, target + (radius + row) * columns)
                for row in range(radius):
                    near, far = reflected(-1 - row, length), reflected(length + row, length)
                    _take(volume, source + near * after, columns, padded, target + (radius - 1 - row) * columns)
                    _take(volume, source + far * after, columns, padded, target + (radius + length + row) * columns)
            sum_padded(padded, blocks * padded_length * columns, columns, weights, sums)
            for block in range(blocks):
                source, target = block * padded_length * columns, (first + block) * length * after + left
                for row in range(rows):
                    _take(sums, source + row * columns, each, volume, target + row * after)


@compiled
def _take(source: Floats, first: int, count: int, target: Floats, at: int) -> None:
    """Copy voxels; values below 2**-70 become 0."""
    # Unsigned indices, because Numba checks signed ones for negative values.
    begin, place = np.uint64(first), np.uint64(at)
    for i in range(np.uint64(count)):
        target[place + i] = at_least(source[begin + i])


@compiled
def reflected(place: int, length: int) -> int:
    """Return the index inside of the array that a reflected index refers to: d c b a | a b c d | d c b a."""
    place %= 2 * length
    return min(place, 2 * length - 1 - place)


@compiled
def at_least(x: np.float32) -> np.float32:
    """Return a number, with -0 and values below 2**-70 replaced by 0."""
    return _ZERO if abs(x) < _LEAST else x


@compiled
def sum_padded(padded: Floats, size: int, columns: int, weights: Floats, sums: Floats) -> None:
    """Sum the middle row, then pairs of rows, farthest first."""
    middle = (weights.size - 1) * columns
    count = size - 2 * middle
    rows = padded[middle : middle + count]
    for i in range(rows.size):
        sums[i] = rows[i] * weights[0]
    for step in range(weights.size - 1, 0, -1):
        weight, far = weights[step], step * columns
        before, after = padded[middle - far :], padded[middle + far :]
        for i in range(count):
            sums[i] += (before[i] + after[i]) * weight
