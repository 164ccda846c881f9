"""Synthetic bodies for demonstrations and tests without downloads.

A phantom is a trunk of ellipsoid organs with a smooth bias field and noise. The arrangement is the same in every
subject; positions, sizes and textures vary. This is enough context for a network to restore swapped patches.

A phantom is a pure function of (seed, number), the key of NumPy's Philox generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Triple = tuple[int, int, int]
Modality = Literal["mr", "ct"]
Point = tuple[float, float, float]
_Points = list[npt.NDArray[np.float32]]
"""Body coordinates (z, y, x) of every voxel."""


@dataclass(frozen=True)
class Organ:
    """An ellipsoid in the body's coordinates: -1 to 1 along (z, y, x), towards the head, the front and the right.

    Attributes
    ----------
    centre, radii : (3,) float
    mr : float
        Brightness in a magnetic resonance image, in arbitrary units.
    ct : float
        Density in Hounsfield units.
    texture : float
        Strength of the organ's texture, as a fraction of its contrast with air.
    """

    name: str
    centre: Point
    radii: Point
    mr: float
    ct: float
    texture: float


ORGANS = (
    Organ("body", (0.0, 0.0, 0.0), (3.0, 0.80, 0.92), 320, 30, 0.06),
    Organ("right lung", (0.75, 0.02, 0.44), (0.48, 0.52, 0.34), 90, -820, 0.15),
    Organ("left lung", (0.75, 0.02, -0.44), (0.48, 0.52, 0.34), 90, -820, 0.15),
    Organ("heart", (0.62, 0.24, -0.10), (0.30, 0.28, 0.28), 620, 140, 0.08),
    Organ("liver", (0.02, 0.12, 0.40), (0.40, 0.48, 0.42), 540, 110, 0.09),
    Organ("stomach", (0.06, 0.28, -0.36), (0.30, 0.28, 0.26), 180, 0, 0.12),
    Organ("spleen", (0.05, -0.28, -0.60), (0.24, 0.20, 0.15), 760, 125, 0.08),
    Organ("right kidney", (-0.36, -0.32, 0.38), (0.30, 0.17, 0.15), 840, 190, 0.12),
    Organ("left kidney", (-0.26, -0.32, -0.38), (0.30, 0.17, 0.15), 840, 190, 0.12),
    Organ("bladder", (-0.84, 0.20, 0.0), (0.26, 0.28, 0.32), 960, 10, 0.03),
    Organ("spine", (0.0, -0.54, 0.0), (3.0, 0.17, 0.17), 440, 450, 0.25),
    Organ("aorta", (0.0, -0.28, -0.08), (3.0, 0.09, 0.09), 60, 300, 0.03),
)
"""Organs in the order of painting; the label of an organ is its index plus one, and 0 is air."""

_AIR = {"mr": 0.0, "ct": -1000.0}
_NOISE = 0.015
_BIAS = 0.12
_CYCLES = (5.0, 9.0)
_VERTEBRAE = 9.0


def make_phantom(
    seed: int, shape: Triple = (48, 56, 52), number: int = 0, modality: Modality = "mr"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], Point]:
    """Make one body.

    Parameters
    ----------
    seed : int
        Number of the study, 0 <= seed < 2**64.
    shape : (3,) int
        Voxels along (D, H, W).
    number : int
        Number of the subject in the study.
    modality : {"mr", "ct"}
        Magnetic resonance in arbitrary units, or computed tomography in Hounsfield units.

    Returns
    -------
    image : (D, H, W) float32
    labels : (D, H, W) uint8
        0 for air, otherwise the index of the organ in `ORGANS` plus one.
    spacing : (3,) float
        Voxel edges along (D, H, W), in mm.

    Examples
    --------
    >>> image, labels, spacing = make_phantom(seed=0, shape=(24, 28, 26), number=3)
    >>> image.shape, ORGANS[labels[12, 6, 13] - 1].name
    ((24, 28, 26), 'spine')
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape: expected three positive lengths (D, H, W), got {shape}")
    random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    points = _body_coordinates(random, shape)
    labels = _paint(random, points)
    image = _render(random, points, labels, modality)
    edges = random.uniform(0.94, 1.06) * np.array([400.0, 260.0, 360.0]) / shape
    return image, labels, (float(edges[0]), float(edges[1]), float(edges[2]))


def _body_coordinates(random: np.random.Generator, shape: Triple) -> _Points:
    """Return body coordinates (z, y, x) of every voxel, after a small rotation, shift and scaling."""
    axes = [(2 * np.arange(length, dtype=np.float32) + 1) / length - 1 for length in shape]
    turn = np.eye(3) + np.cross(np.eye(3), random.uniform(-0.10, 0.10, 3))
    turn /= random.uniform(0.92, 1.08, (3, 1))
    shift = random.uniform(-0.04, 0.04, 3)
    matrix = turn.astype(np.float32)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return [row[0] * z + row[1] * y + row[2] * x + np.float32(s) for row, s in zip(matrix, shift, strict=True)]


def _paint(random: np.random.Generator, points: _Points) -> npt.NDArray[np.uint8]:
    """Return the label of every point."""
    labels = np.zeros(points[0].shape, np.uint8)
    for label, organ in enumerate(ORGANS, start=1):
        centre = np.array(organ.centre) + random.uniform(-0.05, 0.05, 3) * (label > 1)
        radii = np.array(organ.radii) * random.uniform(0.88, 1.12, 3)
        inside = sum(((points[axis] - np.float32(centre[axis])) / np.float32(radii[axis])) ** 2 for axis in range(3))
        # Organs stay inside the body, for any position and size.
        labels[(inside < 1) & ((labels > 0) | (label == 1))] = label
    return labels


def _render(
    random: np.random.Generator, points: _Points, labels: npt.NDArray[np.uint8], modality: Modality
) -> npt.NDArray[np.float32]:
    """Return the image of the labelled points: contrast, texture, bias, noise, and clean air."""
    air = _AIR[modality]
    contrasts = np.array([getattr(organ, modality) - air for organ in ORGANS])
    contrasts *= random.uniform(0.94, 1.06, len(ORGANS))
    brightness = np.array([0, *contrasts], np.float32)
    strength = brightness * np.array([0, *(organ.texture for organ in ORGANS)], np.float32)
    vertebrae = np.cos(np.float32(_VERTEBRAE * np.pi) * points[0] + np.float32(random.uniform(0, 2 * np.pi)))
    spine = labels == 1 + [organ.name for organ in ORGANS].index("spine")
    image: npt.NDArray[np.float32] = brightness[labels]
    image += strength[labels] * np.where(spine, vertebrae, _texture(random, points))
    image *= _bias(random, points)
    noise = random.standard_normal(labels.shape, dtype=np.float32)
    image += np.float32(_NOISE * contrasts.max()) * noise * (labels > 0)
    image += np.float32(air)
    return image


def _texture(random: np.random.Generator, points: _Points) -> npt.NDArray[np.float32]:
    """Return a pattern between -1 and 1 of a coarse and a fine pair of crossing waves."""
    total = np.zeros(points[0].shape, np.float32)
    for cycles in _CYCLES:
        waves = []
        for _ in range(2):
            direction = random.standard_normal(3)
            direction *= np.pi * cycles / np.linalg.norm(direction)
            phase = sum(np.float32(d) * point for d, point in zip(direction, points, strict=True))
            waves.append(np.cos(phase + np.float32(random.uniform(0, 2 * np.pi))))
        total += waves[0] * waves[1] / len(_CYCLES)
    return total


def _bias(random: np.random.Generator, points: _Points) -> npt.NDArray[np.float32]:
    """Return a smooth factor around 1, like that of a receiver coil: the exponential of a quadratic function."""
    z, y, x = points
    terms = (z, y, x, z * y, y * x, z * x, z * z, y * y, x * x)
    weights = random.uniform(-_BIAS, _BIAS, len(terms)).astype(np.float32)
    bias: npt.NDArray[np.float32] = np.exp(sum(weight * term for weight, term in zip(weights, terms, strict=True)))
    return bias
