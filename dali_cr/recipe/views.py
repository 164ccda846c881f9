"""`Views`: the settings of multi-view samples for PCRLv2."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from dali_cr.recipe.augment import Range
from dali_cr.recipe.checks import AXES, check_area, check_cutout, check_standardize, is_int, is_number
from dali_cr.recipe.convert import convert_fields
from dali_cr.recipe.fingerprint import SINCE, fingerprint
from dali_cr.recipe.per_dataset import Normalizes, Spacings, check_field, values_of
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple

GLOBALS = 2
"""Number of global views per sample."""

SHAPES = ("shape", "local_shape")

Standardize = Literal["zscore"] | tuple[float, float]

_LARGEST = {
    "foreground": 1.0,
    "degrees": 180.0,
    "blur": 16.0,
    "noise": math.inf,
    "gamma": 8.0,
    "blur_probability": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
}

_FLOATS = ("overlap", "scale", "standardize", "area", "local_area", *_LARGEST)


@dataclass(frozen=True)
class Views:
    """PCRLv2: two overlapping global views, clean and corrupted, and local views inside the box around both.

    Each view is a box of the volume that is flipped, scaled and rotated about its centre in a single trilinear
    interpolation; a rotated box shows voxels of the volume outside of the box. The clean view is the target. The
    corrupted view is blurred, gets noise and a gamma transform, another brightness and contrast, and swaps (global
    views only). It is standardized, and holes are cut out last (global views only).

    Attributes
    ----------
    shape : (3,) int
        (D, H, W) of a global view. With 1 along D all boxes are single slices across D, anywhere in the volume, and
        views are rotated, scaled and blurred only within the slice. The views of a sample show the same slice.
    sizes : tuple of (3,) int
        Sizes of the boxes of global views in voxels (of `spacing`), with equal probability. A box larger than its
        volume is padded evenly, the odd voxel last.
    overlap : float
        Lower bound of the intersection over union of the two global boxes. The second box is uniform over all positions
        above it.
    locals : int
        Number of local views per sample.
    local_shape : (3,) int
    local_sizes : tuple of (3,) int
        Sizes of the boxes of local views. A local box lies inside the smallest box around both global boxes, and inside
        the volume if it fits.
    swap : Swap
        Swaps of a global view.
    flips : tuple of "D", "H", "W"
        Axes that are flipped in half of the views. Exclude "W" (left-right) if the side matters.
    scale : float
        Each axis is scaled by a factor from 1 - scale to 1 + scale.
    degrees : float
        Each view is rotated about each axis by an angle from -degrees to degrees, in mm space.
    blur : float
        Standard deviations of the Gaussian blur are drawn from 0 to this, one per axis, in voxels of the view.
    noise : float
        The standard deviation of the noise is drawn from 0 to this.
    gamma : float
        The natural logarithm of the exponent is drawn from -gamma to gamma.
    normalize : ("window", low, high) or "percentile", or a mapping
        Normalisation to 0...1, clipped; or one of these by name of each data set, as in `Restoration`.
    foreground : float
        Probability that the centre of the first global box is drawn from the foreground; otherwise it is uniform.
    spacing : (3,) float, optional, or a mapping
        Spacing in mm along (D, H, W) of the voxels in which sizes are given. Default: the spacing of the volume. Or one
        by the name of each data set, as in `Restoration`.
    crops_per_volume : int
        Number of consecutive samples of one volume, which is read once per batch.
    blur_probability : float
        Probability that a view is blurred.
    isotropic_blur : bool
        Blur all axes with the same standard deviation.
    brightness, contrast : float
        A view's brightness and contrast are multiplied by factors from 1 - x to 1 + x, in random order, and clipped to
        0...1, as by torchvision's ``ColorJitter``; see `dali_cr.ops.jitter.jitter_ref`. 0 is off. They need
        `standardize` with numbers, because a z-score undoes both, except for clipped values.
    cutout : (holes, edge), optional
        Number of square or cubic holes of a corrupted global view, and their edge in voxels. Their centres are uniform
        over the view, which cuts off what lies outside. Holes are 0 after standardization.
    standardize : "zscore" or (mean, std)
        The z-score of each corrupted view and channel; targets are then 0...1. Or a mean and a standard deviation of
        voxels in 0...1, which all views and the targets are standardized with.
    area : (low, high), optional
        2-D views only, in place of `sizes`: each global box has a share of the slice's area from low to high, and a
        ratio of width to height from 3/4 to 4/3, uniform in its logarithm, as in torchvision's ``RandomResizedCrop``.
        Boxes are anywhere in the slice, independently of each other, so `overlap` does not apply.
    local_area : (low, high), optional
        The same for local boxes, in place of `local_sizes`; given together with `area`.

    Raises
    ------
    ValueError
        If a field is invalid, a local box is larger than a global one, 2-D views have boxes of several slices, or the
        swaps do not fit into a view.

    Notes
    -----
    Defaults for shapes, sizes, overlap, number of local views, swap, blur, noise, gamma, scale, rotation and window are
    those of the authors' code for LUNA, which resamples to 1 mm (`spacing=(1, 1, 1)`). Project choices: a share of
    foreground instead of a tissue test; flips along left-right; no filter before resampling; local boxes that never
    leave the box around the global boxes; new views for each sample instead of 16 stored pairs.

    The authors' 2-D code, for radiographs, has ``area=(0.3, 1)``, ``local_area=(0.05, 0.3)``, ``scale=0``, ``blur=2``
    with a probability of 0.5 (here from 0, there from 0.1) and one standard deviation for both axes, no noise, gamma
    and swaps, ``brightness=0.4``, ``contrast=0.4``, ``cutout=(3, 32)`` and ImageNet's mean and standard deviation.
    Its changes to grey, of saturation and of hue change nothing in an image of one channel and do not exist here: the
    channels of a case are taken as separate grey images, also those of a colour image. There, corners of a rotated box
    are black, and boxes are resized with an antialiasing filter.

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. IEEE TPAMI 45 (2023) 8020-8035. Code: github.com/RL4M/PCRLv2.
    DeVries, Taylor: Improved regularization of convolutional neural networks with cutout. arXiv:1708.04552, 2017.

    Examples
    --------
    >>> Views(normalize="percentile", foreground=0.5).shape
    (32, 64, 64)
    >>> local = {"local_shape": (1, 96, 96), "local_area": (0.05, 0.3)}
    >>> Views(shape=(1, 224, 224), area=(0.3, 1), **local, swap=Swap(0), cutout=(3, 32)).overlap
    0.0
    """

    shape: Triple = (32, 64, 64)
    sizes: tuple[Triple, ...] = ((64, 96, 96), (96, 96, 96), (64, 112, 112), (32, 64, 64))
    overlap: float = 0.3
    locals: int = 6
    local_shape: Triple = (16, 16, 16)
    local_sizes: tuple[Triple, ...] = ((16, 32, 32), (16, 16, 16), (32, 32, 32), (8, 8, 8))
    swap: Swap = field(default_factory=lambda: Swap(iterations=100, patch=(4, 4, 8)))
    flips: tuple[str, ...] = ("W",)
    scale: float = 0.1
    degrees: float = 10.0
    blur: float = 2.0
    noise: float = 0.25
    gamma: float = 0.3
    normalize: Normalizes = ("window", -1000.0, 1000.0)
    foreground: float = 0.9
    spacing: Spacings = None
    crops_per_volume: int = 1
    blur_probability: float = field(default=1.0, metadata={SINCE: "0.2.0"})
    isotropic_blur: bool = field(default=False, metadata={SINCE: "0.2.0"})
    brightness: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    contrast: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    cutout: tuple[int, int] | None = field(default=None, metadata={SINCE: "0.2.0"})
    standardize: Standardize = field(default="zscore", metadata={SINCE: "0.2.0"})
    area: Range | None = field(default=None, metadata={SINCE: "0.2.0"})
    local_area: Range | None = field(default=None, metadata={SINCE: "0.2.0"})

    def __post_init__(self) -> None:
        convert_fields(self, _FLOATS)
        for name in ("normalize", "spacing"):
            object.__setattr__(self, name, check_field(name, getattr(self, name)))
        self._check_areas()
        self._check_boxes()
        self._check_numbers()
        if len(set(self.flips)) != len(self.flips) or not set(self.flips) <= set(AXES):
            raise ValueError(f"flips: expected some of 'D', 'H', 'W', each once, got {self.flips!r}")
        if any(one in (None, "zscore", "zscore-image") for one in values_of(self.normalize)):
            raise ValueError(
                f"normalize: expected percentile or a window, with targets of 0...1, got {self.normalize!r}"
            )
        self.swap.check(self.shape)
        check_cutout(self.cutout, self.shape)
        check_standardize(self.standardize)
        if self.jitters and self.standardize == "zscore":
            raise ValueError(
                "standardize: expected a mean and a standard deviation with brightness or contrast, which a z-score "
                "would undo, got 'zscore'"
            )

    def _check_areas(self) -> None:
        """Raise ValueError unless shares of the area are valid; with them, fields without effect are cleared."""
        if self.area is None and self.local_area is None:
            return
        check_area("area", self.area)
        check_area("local_area", self.local_area)
        for name in SHAPES:
            if not _is_shape(getattr(self, name)) or getattr(self, name)[0] != 1:
                raise ValueError(f"{name}: expected 1 along D with area, for 2-D views, got {getattr(self, name)!r}")
        usual = {one.name: one.default for one in fields(self)}
        for name, cleared in (("sizes", ()), ("local_sizes", ()), ("overlap", 0.0)):
            if getattr(self, name) not in (usual[name], cleared):
                raise ValueError(f"{name}: expected none with area, which replaces it, got {getattr(self, name)!r}")
            object.__setattr__(self, name, cleared)

    def _check_boxes(self) -> None:
        """Raise ValueError unless shapes and sizes are valid and local boxes fit into every global box."""
        for name in SHAPES:
            if not _is_shape(getattr(self, name)):
                raise ValueError(f"{name}: expected three positive integers (D, H, W), got {getattr(self, name)!r}")
        if self.area is not None:
            return
        for name in ("sizes", "local_sizes"):
            sizes = getattr(self, name)
            if not isinstance(sizes, tuple) or not sizes or not all(map(_is_shape, sizes)):
                raise ValueError(f"{name}: expected at least one (D, H, W) of positive integers, got {sizes!r}")
        if self.flat:
            boxes = {"sizes": self.sizes, "local_shape": (self.local_shape,), "local_sizes": self.local_sizes}
            thick = next(((name, box) for name, found in boxes.items() for box in found if box[0] != 1), None)
            if thick:
                raise ValueError(f"{thick[0]}: expected 1 along D like the views' shape {self.shape}, got {thick[1]}")
        least = tuple(map(min, zip(*self.sizes, strict=True)))
        large = [size for size in self.local_sizes if any(a > b for a, b in zip(size, least, strict=True))]
        if large:
            raise ValueError(
                f"local_sizes: expected boxes that fit into every global box, at most {least}, got {large[0]}"
            )

    def _check_numbers(self) -> None:
        """Raise ValueError unless numbers are in range."""
        for name, low in (("locals", 1), ("crops_per_volume", 1)):
            if not is_int(getattr(self, name)) or getattr(self, name) < low:
                raise ValueError(f"{name}: expected an integer of at least {low}, got {getattr(self, name)!r}")
        if not isinstance(self.isotropic_blur, bool):
            raise ValueError(f"isotropic_blur: expected True or False, got {self.isotropic_blur!r}")
        for name, end in (("overlap", 1.0), ("scale", 1.0)):
            if not is_number(getattr(self, name)) or not 0 <= getattr(self, name) < end:
                raise ValueError(f"{name}: expected a number from 0 to below {end:g}, got {getattr(self, name)!r}")
        for name, end in _LARGEST.items():
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= end:
                raise ValueError(f"{name}: expected a number from 0 to {end:g}, got {value!r}")

    @property
    def dtype(self) -> Literal["float32"]:
        """Dtype of all views."""
        return "float32"

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """Boxes of the global views before rotation; none with `area`, whose boxes lie in the volume."""
        return self.sizes

    @property
    def flat(self) -> bool:
        """Whether views are single slices."""
        return self.shape[0] == 1

    @property
    def jitters(self) -> bool:
        """Whether brightness or contrast is changed."""
        return self.brightness > 0 or self.contrast > 0

    @property
    def count(self) -> int:
        """Number of views per sample, global and local."""
        return GLOBALS + self.locals

    @property
    def fingerprint(self) -> str:
        """Hash of the fields; see `dali_cr.recipe.fingerprint.fingerprint`."""
        return fingerprint(self)


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(is_int(edge) and edge > 0 for edge in value)
