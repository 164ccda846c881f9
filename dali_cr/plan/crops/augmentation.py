"""Draw the augmentation of the crop of sample n, as a pure function of (seed, n) and the recipe."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import fill_words, unit
from dali_cr.recipe.restoration import Restoration
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

_AFFINE, _INTENSITY = int(rng.Purpose.AFFINE), int(rng.Purpose.INTENSITY)

WORDS = 6
"""Number of random words of a sample. Rotation and scaling: whether to rotate, angles (3), whether to scale, factor.
Intensities (the first four): whether to add noise, its std, whether to apply a gamma, logarithm of its exponent."""


class Augmentation(NamedTuple):
    """The augmentation of the crops of a batch.

    Attributes
    ----------
    crop : (3,) int
    angles : (B, 3) float64
        Rotation about D, H and W in degrees; 0 for none.
    scales : (B, 3) float64
        Scale of D, H and W; 1 for none.
    stds : (B,) float32
        Standard deviations of the noise; 0 for none.
    exponents : (B,) float32
        Exponents of the gamma; 1 for none.
    """

    crop: Triple
    angles: Floats
    scales: Floats
    stds: Singles
    exponents: Singles

    @property
    def moved(self) -> Flags:
        """Whether each crop is rotated or scaled, (B,) bool."""
        return np.asarray((self.angles != 0).any(1) | (self.scales != 1).any(1))

    @property
    def changed(self) -> Flags:
        """Whether each input gets noise or a gamma, (B,) bool."""
        return np.asarray((self.stds != 0) | (self.exponents != 1))


def draw_augmentation(recipe: Restoration, seed: int, numbers: npt.NDArray[np.int64]) -> Augmentation:
    """Draw the augmentation of the crops of samples.

    Parameters
    ----------
    recipe : Restoration
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64
        Sample numbers.

    Examples
    --------
    >>> recipe = Restoration(crop=(1, 64, 64), degrees=30)
    >>> drawn = draw_augmentation(recipe, 0, np.arange(3))
    >>> drawn.angles.round(1).tolist()[0][1:], drawn.scales.tolist()[0]
    ([0.0, 0.0], [1.0, 1.0, 1.0])
    """
    count, thick = len(numbers), [edge > 1 for edge in recipe.crop]
    # Rotate about an axis only if both other axes are longer than 1, so that 2-D crops stay in their slice.
    free = [all(thick[other] for other in range(3) if other != axis) for axis in range(3)]
    degrees = np.where(free, recipe.degrees, 0.0)
    angles, scales, stds, logs = np.empty((count, 3)), np.empty((count, 3)), np.empty(count), np.empty(count)
    _draw(
        np.uint64(seed),
        np.ascontiguousarray(numbers, np.int64),
        degrees,
        recipe.scale,
        np.array(thick),
        recipe.affine_probability,
        (recipe.noise, recipe.gamma),
        recipe.intensity_probability,
        np.empty(WORDS, np.uint64),
        (angles, scales, stds, logs),
    )
    # With the C library, one value at a time, because NumPy's results depend on the length of the array.
    exponents = np.array([math.exp(log) for log in logs.tolist()], np.float32)
    return Augmentation(recipe.crop, angles, scales, stds.astype(np.float32), exponents)


@compiled
def _draw(
    seed: np.uint64,
    numbers: npt.NDArray[np.int64],
    degrees: Floats,
    scale: tuple[float, float],
    thick: Flags,
    affine: float,
    most: tuple[float, float],
    intensity: float,
    words: npt.NDArray[np.uint64],
    out: tuple[Any, Any, Any, Any],
) -> None:
    """Draw the augmentation of a batch; `affine` and `intensity` are probabilities."""
    angles, scales, stds, logs = out
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        fill_words(seed, number, 0, _AFFINE, words)
        rotated, scaled = unit(words[0]) < affine, unit(words[4]) < affine
        factor = scale[0] + (scale[1] - scale[0]) * unit(words[5]) if scaled else 1.0
        for axis in range(3):
            turned = rotated and degrees[axis] > 0
            angles[i, axis] = degrees[axis] * (2 * unit(words[1 + axis]) - 1) if turned else 0.0
            scales[i, axis] = factor if thick[axis] else 1.0
        fill_words(seed, number, 0, _INTENSITY, words)
        stds[i] = most[0] * unit(words[1]) if unit(words[0]) < intensity else 0.0
        logs[i] = most[1] * (2 * unit(words[3]) - 1) if unit(words[2]) < intensity else 0.0
