"""Whole volumes as network input: normalised and resampled like training crops, and padded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.index.volumes import Case
from dali_cr.index.volumes import Volume as Member
from dali_cr.ops.decode import decode_channel
from dali_cr.read.normalize import rescale_of
from dali_cr.read.whole import resample
from dali_cr.recipe.checks import Normalize
from dali_cr.volume import reader
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import Spacing, nearest_voxels, resampled_shape

from .labels import Labels

Volume = npt.NDArray[np.float32]
Slices = tuple[slice, slice, slice]


def shape_at(case: Case, spacing: Spacing | None) -> Triple:
    """Return the shape (D, H, W) of a case at a spacing; its own shape without one."""
    return resampled_shape(case.shape, case.volumes[0].spacing, spacing)


def read_case(root: Path, case: Case, normalize: Normalize, spacing: Spacing | None = None) -> Volume:
    """Read a case as (C, D, H, W), canonical, normalised and resampled.

    Voxels equal those of the loader's crops, exactly without a spacing and up to float32 rounding with one.

    Raises
    ------
    dali_cr.VolumeError
        If a file cannot be read, or changed since it was scanned.
    """
    there = shape_at(case, spacing)
    out = np.empty((len(case.volumes), *there), np.float32)
    for volume, channel in zip(case.volumes, out, strict=True):
        geometry, start = volume.geometry, (0, 0, 0)
        end = geometry.end(volume.frame, start, case.shape)
        content = reader.read_data(root / volume.data, end, size=volume.size, mtime_ns=volume.mtime_ns)
        decoded = channel if there == case.shape else np.empty(case.shape, np.float32)
        decode_channel(geometry.view(content, volume.frame, start, case.shape), rescale_of(volume, normalize), decoded)
        if decoded is not channel:
            channel[...] = resample(decoded, there)
    return out


def read_grey(root: Path, case: Case) -> npt.NDArray[np.float32]:
    """Read the first channel of a case for display: its 0.5 to 99.5 percentiles become 0 to 1; a constant one is 0.

    Returns
    -------
    image : (D, H, W) float32

    Raises
    ------
    dali_cr.VolumeError
        If a file cannot be read, or changed since it was scanned.
    """
    image, known = read_case(root, case, None)[0], case.volumes[0].statistics
    span = known.high - known.low
    grey: npt.NDArray[np.float32] = np.clip((image - known.low) / (span if span > 0 else 1.0), 0, 1, dtype=np.float32)
    return grey


def resample_labels(labels: Labels, shape: Triple) -> Labels:
    """Resample labels to another shape over the same space, by nearest neighbour.

    Examples
    --------
    >>> resample_labels(np.uint8([[[1, 2, 3]]]), (1, 1, 6)).tolist()
    [[[1, 1, 2, 2, 3, 3]]]
    """
    if labels.shape == tuple(shape):
        return labels
    return labels[np.ix_(*(nearest_voxels(own, there) for own, there in zip(labels.shape, shape, strict=True)))]


def outside(case: Case, normalize: Normalize) -> list[float]:
    """Return the padding value of each channel, outside of its volume."""
    return [rescale_of(volume, normalize).padding for volume in case.volumes]


def pad_evenly(volume: Volume, crop: Triple, fill: list[float]) -> tuple[Volume, Triple]:
    """Pad a volume evenly to at least the crop size, the odd voxel last; return it and its first voxel's position.

    Parameters
    ----------
    volume : (C, D, H, W)
    crop : (D, H, W) int
    fill : list of float
        Padding value of each channel.
    """
    missing = [max(0, edge - length) for edge, length in zip(crop, volume.shape[1:], strict=True)]
    first = [m // 2 for m in missing]
    if not any(missing):
        return volume, (0, 0, 0)
    shape = (len(volume), *(length + m for length, m in zip(volume.shape[1:], missing, strict=True)))
    out = np.empty(shape, np.float32)
    out[...] = np.array(fill, np.float32)[:, None, None, None]
    inner = tuple(slice(f, f + length) for f, length in zip(first, volume.shape[1:], strict=True))
    out[(slice(None), *inner)] = volume
    return out, (first[0], first[1], first[2])


def content_box(volume: Volume, case: Case, normalize: Normalize) -> Slices:
    """Return the smallest box outside of which all channels are background.

    Padding counts as background, so a padded file gives the same content and the same prediction.

    Parameters
    ----------
    volume : (C, D, H, W)
        From `read_case`, at any spacing.
    case : Case
    normalize : str, tuple or None
        As for `read_case`.
    """
    _, depth, height, width = volume.shape
    inside = np.zeros((depth, height, width), bool)
    everything = slice(0, depth), slice(0, height), slice(0, width)
    for member, channel in zip(case.volumes, volume, strict=True):
        background = background_value(member, normalize)
        if background is None:
            return everything
        inside |= np.abs(channel - background) > background_tolerance(background)
    if not inside.any():
        return everything
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]


def background_value(member: Member, normalize: Normalize) -> float | None:
    """Return the background value of a volume after normalisation; None if it has no background.

    Parameters
    ----------
    member : Volume
        A volume of a case.
    normalize : str, tuple or None
        As for `read_case`.
    """
    background = member.statistics.background
    if background is None:
        return None
    raw = np.full((1, 1, 1), (background - member.geometry.intercept) / member.geometry.slope)
    value = np.empty(raw.shape, np.float32)
    decode_channel(raw, rescale_of(member, normalize), value)
    return float(value.item())


def background_tolerance(background: float) -> float:
    """Return the tolerance within which a value, for example after interpolation, counts as background."""
    return 1e-6 * max(1.0, abs(background))
