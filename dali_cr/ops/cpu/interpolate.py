"""Trilinear and nearest-neighbour interpolation: the compiled loops of `dali_cr.ops.gather`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import flushed
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_ZERO, _ONE = np.float32(0), np.float32(1)
_TOGETHER = 64
"""Number of voxels that are interpolated together."""

_PARTS = tuple(np.uint64(part * _TOGETHER) for part in range(11))
"""Offsets of the eight corners and the three fractions in the work memory."""


@compiled
def interpolate(
    line: Floats,
    extent: Triple,
    lo: Doubles,
    padding: np.float32,
    matrix: Doubles,
    offset: Doubles,
    out: Floats,
    shape: Triple,
    nearest: bool,
    clamped: bool,
) -> None:
    """Interpolate a view row by row from a flattened box into a flattened array.

    Parameters
    ----------
    line : (D * H * W,) float32
        The box's voxels.
    extent : (3,) int
        The box's (D, H, W).
    lo : (3,) float64
        The canonical voxel at the origin of the box.
    padding : float32
        Padding value, outside of the box.
    matrix : (3, 3) float64
    offset : (3,) float64
        Map from voxels of the view to canonical voxels.
    out : (d * h * w,) float32
        Output: the view.
    shape : (3,) int
        The view's (d, h, w).
    nearest, clamped : bool
        Interpolation modes; see `dali_cr.ops.records.views.make_gather_record`.
    """
    starts, across, steps = np.empty(3), np.empty(3), matrix[:, 2].copy()
    places, work = np.empty(_TOGETHER, np.int64), np.empty(11 * _TOGETHER, np.float32)
    for d in range(shape[0]):
        for h in range(shape[1]):
            bounded = not nearest
            for axis in range(3):
                starts[axis] = offset[axis] + matrix[axis, 0] * d
                across[axis] = matrix[axis, 1] * h
                # Sources are monotonic in w, also after rounding, so the extremes are at the ends of the row.
                first = starts[axis] + (across[axis] + steps[axis] * 0)
                last = starts[axis] + (across[axis] + steps[axis] * (shape[2] - 1))
                bounded &= lo[axis] <= min(first, last) and max(first, last) < lo[axis] + extent[axis] - 1
            row, at = (starts, across, steps), (d * shape[1] + h) * shape[2]
            if bounded:
                for begin in range(0, shape[2], _TOGETHER):
                    count = min(_TOGETHER, shape[2] - begin)
                    _find(extent, lo, row, begin, count, places, work)
                    _collect(line, extent, places, count, work)
                    _between(work, count, out, at + begin)
            else:
                _row(line, extent, lo, padding, row, nearest, clamped, out, at, shape[2])


# Voxels whose corners are all inside of the box are processed in three short loops. Without branches, and with all
# intermediate results in one array at constant offsets, the compiler vectorises these loops. Indices are unsigned,
# because Numba checks signed ones for negative values.


@compiled
def _find(
    extent: Triple,
    lo: Doubles,
    row: tuple[Doubles, Doubles, Doubles],
    begin: int,
    count: int,
    places: npt.NDArray[np.int64],
    work: Floats,
) -> None:
    """Compute the lower corners of the sources of a row, and the fractions above them."""
    (start_z, start_y, start_x), (across_z, across_y, across_x), (step_z, step_y, step_x) = row[0], row[1], row[2]
    lo_z, lo_y, lo_x = lo
    row_step, plane_step = float(extent[2]), float(extent[1] * extent[2])
    for w in range(np.uint64(count)):
        number = np.float64(begin + np.int64(w))
        z = start_z + (across_z + step_z * number)
        y = start_y + (across_y + step_y * number)
        x = start_x + (across_x + step_x * number)
        below_z, below_y, below_x = np.floor(z), np.floor(y), np.floor(x)
        work[w + _PARTS[8]] = fraction_of(z - below_z)
        work[w + _PARTS[9]] = fraction_of(y - below_y)
        work[w + _PARTS[10]] = fraction_of(x - below_x)
        # In float64, because one conversion is cheaper than three; exact up to 2**53.
        places[w] = np.int64((below_z - lo_z) * plane_step + (below_y - lo_y) * row_step + (below_x - lo_x))


@compiled
def _collect(line: Floats, extent: Triple, places: npt.NDArray[np.int64], count: int, work: Floats) -> None:
    """Read the eight corners of each voxel."""
    row, plane, one = np.uint64(extent[2]), np.uint64(extent[1] * extent[2]), np.uint64(1)
    for w in range(np.uint64(count)):
        near = np.uint64(places[w])
        far = near + plane
        work[w + _PARTS[0]], work[w + _PARTS[1]] = line[near], line[near + one]
        work[w + _PARTS[2]], work[w + _PARTS[3]] = line[near + row], line[near + row + one]
        work[w + _PARTS[4]], work[w + _PARTS[5]] = line[far], line[far + one]
        work[w + _PARTS[6]], work[w + _PARTS[7]] = line[far + row], line[far + row + one]


@compiled
def _between(work: Floats, count: int, out: Floats, first: int) -> None:
    """Interpolate along W, then H, then D."""
    begin = np.uint64(first)
    for w in range(np.uint64(count)):
        fz, fy, fx = work[w + _PARTS[8]], work[w + _PARTS[9]], work[w + _PARTS[10]]
        upper = lerp(work[w + _PARTS[0]], work[w + _PARTS[1]], fx)
        lower = lerp(work[w + _PARTS[2]], work[w + _PARTS[3]], fx)
        near = lerp(upper, lower, fy)
        upper = lerp(work[w + _PARTS[4]], work[w + _PARTS[5]], fx)
        lower = lerp(work[w + _PARTS[6]], work[w + _PARTS[7]], fx)
        out[begin + w] = lerp(near, lerp(upper, lower, fy), fz)


@compiled
def _row(
    line: Floats,
    extent: Triple,
    lo: Doubles,
    padding: np.float32,
    row: tuple[Doubles, Doubles, Doubles],
    nearest: bool,
    clamped: bool,
    out: Floats,
    first: int,
    width: int,
) -> None:
    """Interpolate a row that may be partly outside of the box."""
    starts, across, steps = row
    corner, fraction = np.empty(3, np.int64), np.empty(3, np.float32)
    for w in range(width):
        for axis in range(3):
            source = starts[axis] + (across[axis] + steps[axis] * w)
            high = lo[axis] + extent[axis]
            source = clamp_source(source, lo[axis], high) if clamped else source
            source = source + 0.5 if nearest else source
            below = np.floor(source)
            near = lo[axis] - 2 <= below <= high  # otherwise both corners are outside, also for NaN
            corner[axis] = np.int64(below - lo[axis]) if near else -2
            fraction[axis] = fraction_of(source - below) if near else _ZERO
        z, y, x = corner
        if nearest:
            out[first + w] = _voxel(line, extent, padding, z, y, x)
        else:
            lower = _plane(line, extent, padding, z, y, x, fraction)
            upper = _plane(line, extent, padding, z + 1, y, x, fraction)
            out[first + w] = lerp(lower, upper, fraction[0])


@compiled
def _plane(line: Floats, extent: Triple, padding: np.float32, z: int, y: int, x: int, fraction: Floats) -> np.float32:
    """Interpolate between four corners of a plane."""
    upper = lerp(_voxel(line, extent, padding, z, y, x), _voxel(line, extent, padding, z, y, x + 1), fraction[2])
    y += 1
    lower = lerp(_voxel(line, extent, padding, z, y, x), _voxel(line, extent, padding, z, y, x + 1), fraction[2])
    return lerp(upper, lower, fraction[1])


@compiled
def _voxel(line: Floats, extent: Triple, padding: np.float32, z: int, y: int, x: int) -> np.float32:
    """Return a voxel of the box, or the padding value outside of it."""
    inside = 0 <= z < extent[0] and 0 <= y < extent[1] and 0 <= x < extent[2]
    return line[(z * extent[1] + y) * extent[2] + x] if inside else padding


@compiled
def lerp(a: np.float32, b: np.float32, fraction: np.float32) -> np.float32:
    """Return a + fraction * (b - a), with rounding and flushing of subnormals at each step."""
    return flushed(a + flushed(fraction * flushed(b - a)))


@compiled
def fraction_of(part: np.float64) -> np.float32:
    """Round a number from 0 to 1 to a float32 multiple of 2**-23."""
    return (np.float32(part) + _ONE) - _ONE


@compiled
def clamp_source(source: float, lo: float, hi: float) -> float:
    """Return a source coordinate: clamped to the outermost centres of [lo, hi) if it is up to 0.5 outside of them.

    A source farther outside is moved so far away that it gets the padding value.
    """
    if not source >= lo - 0.5:
        return lo - 2.0
    if source > hi - 0.5:
        return hi
    return min(max(source, lo), hi - 1.0)
