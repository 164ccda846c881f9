"""What a multi-view sample is made of: `Views`, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from dali_cr.recipe.checks import AXES, Normalize, check_normalize, check_spacing, is_int, tuples
from dali_cr.recipe.fingerprint import fingerprint
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import Spacing

GLOBALS = 2
"""Global views of a sample."""


@dataclass(frozen=True)
class Views:
    """PCRLv2: two global views that overlap, clean and corrupted, and local views from inside the box around both.

    Each view is a box of the volume, flipped, scaled and rotated about its centre, and sampled once, trilinearly: what
    a rotation brings in from outside of the box is the volume's own. The clean view is the target. The corrupted one is
    blurred, gets noise and a gamma, then swaps (globals only), and is z-scored by itself.

    Attributes
    ----------
    shape : (3,) int
        (D, H, W) of a global view. With 1 along D all boxes are of one slice too, anywhere in the volume: views of
        images, or of slices across D, which are turned, stretched, blurred and compared within the slice alone.
    sizes : tuple of (3,) int
        Boxes that a global view may be of, in voxels (of `spacing`), each as likely as the others. A box larger than
        its volume is padded evenly, the odd voxel last.
    overlap : float
        The intersection of the two global boxes over their union is greater. The second lies anywhere where it is.
    locals : int
        Local views of a sample.
    local_shape : (3,) int
    local_sizes : tuple of (3,) int
        Boxes that a local view may be of. It lies wholly inside the smallest box around both global ones, and inside
        the volume where it fits there.
    swap : Swap
        Of a global view.
    flips : tuple of "D", "H", "W"
        Axes that are flipped in half of the views. Exclude "W" (left-right) if the side matters.
    scale : float
        Each axis is stretched by a factor from 1 - scale to 1 + scale.
    degrees : float
        Each view is turned about each axis by an angle from -degrees to degrees, in mm and not in voxels.
    blur : float
        Standard deviations of the Gaussian blur are drawn from 0 to this, one per axis, in voxels of the view.
    noise : float
        The standard deviation of the noise is drawn from 0 to this.
    gamma : float
        The natural logarithm of the exponent is drawn from -gamma to gamma.
    normalize : ("window", low, high) or "percentile"
        To 0...1, clipped.
    foreground : float
        Probability with which the centre of the first global box is drawn from the foreground; else it lies anywhere.
    spacing : (3,) float, optional
        Of the voxels that sizes are counted in, in mm along (D, H, W); the volume's own without it.
    crops_per_volume : int
        Consecutive samples that are of one volume, which is read once for those in the same batch.

    Raises
    ------
    ValueError
        If a field is not as above, a local box is larger than a global one, views of one slice have boxes of several,
        or the swaps cannot lie in a view.

    Notes
    -----
    Shapes, sizes, overlap, number of local views, swap, ranges of blur, noise, gamma, scale and rotation, and window
    are those of the authors' code for LUNA, which resamples to 1 mm (`spacing=(1, 1, 1)`). Project choices: the share
    of foreground in place of a tissue test; left-right as the axis to flip; sampling without a filter before; boxes of
    local views that never leave the box around the global ones; new views for each sample in place of 16 kept pairs.
    The authors' 2-D part has other transforms (crops of any size, grey, colour, cutout in place of swaps): views of one
    slice are those in 3-D without an axis, which is a project choice throughout.

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. IEEE TPAMI 45 (2023) 8020-8035. Code: github.com/RL4M/PCRLv2.

    Examples
    --------
    >>> Views(normalize="percentile", foreground=0.5).shape
    (32, 64, 64)
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
    normalize: Normalize = ("window", -1000.0, 1000.0)
    foreground: float = 0.9
    spacing: Spacing | None = None
    crops_per_volume: int = 1

    def __post_init__(self) -> None:
        for name in ("shape", "sizes", "local_shape", "local_sizes", "flips", "normalize", "spacing"):
            object.__setattr__(self, name, tuples(getattr(self, name)))
        self._check_boxes()
        self._check_numbers()
        if len(set(self.flips)) != len(self.flips) or not set(self.flips) <= set(AXES):
            raise ValueError(f"flips: expected some of 'D', 'H', 'W', each once, got {self.flips!r}")
        check_normalize(self.normalize)
        if self.normalize in (None, "zscore", "zscore-image"):
            raise ValueError(
                "normalize: views are restored to targets of 0...1; expected ('window', low, high) or 'percentile', "
                f"got {self.normalize!r}"
            )
        self.swap.check(self.shape)

    def _check_boxes(self) -> None:
        """Raise ValueError unless shapes and sizes are valid and local boxes fit into every global box."""
        for name in ("shape", "local_shape"):
            if not _is_shape(getattr(self, name)):
                raise ValueError(f"{name}: expected three positive integers (D, H, W), got {getattr(self, name)!r}")
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
                f"local_sizes: expected boxes that fit into every global one, at most {least}, got {large[0]}"
            )

    def _check_numbers(self) -> None:
        """Raise ValueError unless numbers are in range."""
        for name, low in (("locals", 1), ("crops_per_volume", 1)):
            if not is_int(getattr(self, name)) or getattr(self, name) < low:
                raise ValueError(f"{name}: expected an integer of at least {low}, got {getattr(self, name)!r}")
        for name, end in (("overlap", 1.0), ("scale", 1.0)):
            if not 0 <= getattr(self, name) < end:
                raise ValueError(f"{name}: expected a number from 0 to below {end:g}, got {getattr(self, name)!r}")
        for name, end in (("foreground", 1.0), ("degrees", 180.0), ("blur", 16.0), ("noise", math.inf), ("gamma", 8.0)):
            value = getattr(self, name)
            if not (0 <= value <= end and math.isfinite(value)):
                raise ValueError(f"{name}: expected a number from 0 to {end:g}, got {value!r}")
        check_spacing(self.spacing)

    @property
    def dtype(self) -> Literal["float32"]:
        """Of all views."""
        return "float32"

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """Those of the global views, before they are turned; the local ones lie within them."""
        return self.sizes

    @property
    def flat(self) -> bool:
        """Whether views are of one slice."""
        return self.shape[0] == 1

    @property
    def count(self) -> int:
        """Views of a sample, global and local."""
        return GLOBALS + self.locals

    @property
    def fingerprint(self) -> str:
        """Hash of the fields; see `dali_cr.recipe.fingerprint.fingerprint`."""
        return fingerprint(self)


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(is_int(edge) and edge > 0 for edge in value)
