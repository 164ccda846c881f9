"""`Restoration`: what a context-restoration sample is made of, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dali_cr.recipe.checks import AXES, Normalize, check_normalize, check_spacing, is_int, tuples
from dali_cr.recipe.fingerprint import SINCE, fingerprint
from dali_cr.recipe.mask import Block, MaskGrid, divide_into_blocks
from dali_cr.recipe.slices import Slices
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import Spacing

Pretext = Literal["swap", "inpaint", "autoencode", "mae"]


@dataclass(frozen=True)
class Restoration:
    """Context restoration: a clean crop, and the same crop after T swaps of patches (or what is compared with it).

    Attributes
    ----------
    crop : (3,) int
        (D, H, W) in voxels (of `spacing`). A crop larger than its volume is padded evenly, the odd voxel last.
    swap : Swap
    flips : tuple of "D", "H", "W"
        Axes of the volume that are flipped for half of the samples. Exclude "W" (left-right) if the side matters.
    normalize : "zscore", "zscore-image", "percentile", ("window", low, high) or None
        z-score of the foreground, clipped to +-5; z-score of the whole image, background too, inside the smallest box
        around all that is not 0, unclipped (nnssl's); 0.5 to 99.5 percentiles of the foreground to 0...1, clipped;
        low...high to 0...1, clipped (CT); or the values as they are.
    foreground : float
        Probability with which a crop's centre is drawn from the foreground; else the origin is uniform.
    crops_per_volume : int
        Consecutive samples that are crops of one volume, which is read once for those in the same batch. Above 1 it
        saves reading where nothing can be cached, and makes batches less varied.
    dtype : "float32" or "float16"
    pretext : "swap", "inpaint", "autoencode" or "mae"
        What is done to the crop: the patches are swapped; or the first patch of each pair is erased, with what stands
        outside of a volume (Pathak et al. 2016, with many boxes); or nothing; or blocks of a grid are masked (a masked
        autoencoder, He et al. 2022), and the batch has a "mask" beside input and target. For the last two `swap`
        becomes one of no iterations. The crops are the same for all four.
    slices : Slices, optional
        Samples are crops of one slice each; `crop` is (1, rows, columns), `swap` counts in it, and `crops_per_volume`
        becomes the number of consecutive samples that are different slices of one volume.
    spacing : (3,) float, optional
        Of the voxels that a crop is made of, in mm along (D, H, W); the volume's own without it. A volume then has
        max(1, round(length * own spacing / spacing)) voxels an axis, and voxel i of these lies at
        (i + 0.5) * length / resampled length - 0.5 of its own, so that the outer edges of both grids coincide. Values
        are interpolated trilinearly after they were normalised and clipped, without a filter before; up to the edge of
        the volume its outermost voxels go on. Where the lengths are equal, nothing changes, to the bit. An image's
        pixels count as 1 mm.
    mask_ratio : float
        With "mae": exactly ``round(mask_ratio * blocks)`` blocks are masked, every set of so many as likely as any
        other. Without "mae", this field and the next two become their defaults.
    mask_block : int or (3,) int
        Edges of a block in voxels, in the crop after its flips, from its first voxel on; the last block of an axis is
        cut short where they do not divide the crop. Where a crop is one voxel thick, an edge given for all axes is 1
        on that axis.
    mask_value : float
        What masked voxels of the input hold, after normalisation.

    Raises
    ------
    ValueError
        If a field is not as above, or the swaps cannot lie in the crop.

    References
    ----------
    Chen et al.: Self-supervised learning for medical image analysis using image context restoration. Medical Image
    Analysis 58 (2019) 101539.
    Pathak et al.: Context encoders: feature learning by inpainting. CVPR (2016) 2536-2544.
    He et al.: Masked autoencoders are scalable vision learners. CVPR (2022) 16000-16009. In 3-D: Wald et al.,
    Revisiting MAE pre-training for 3D medical image segmentation, CVPR (2025); code: github.com/MIC-DKFZ/nnssl, which
    masks 0.75 of the blocks of 16 voxels of a crop of 160, with 0 after a z-score.

    Examples
    --------
    >>> Restoration(crop=(64, 64, 64), swap=Swap(iterations=100, patch=(4, 16))).normalize
    'zscore'
    >>> Restoration(crop=(96, 96, 96), pretext="mae", mask_ratio=0.75, mask_block=16).mask_grid.blocks
    (6, 6, 6)
    """

    crop: Triple
    swap: Swap = field(default_factory=Swap)
    flips: tuple[str, ...] = ("W",)
    normalize: Normalize = "zscore"
    foreground: float = 0.9
    crops_per_volume: int = 1
    dtype: Literal["float32", "float16"] = "float32"
    pretext: Pretext = "swap"
    slices: Slices | None = None
    spacing: Spacing | None = None
    mask_ratio: float = field(default=0.75, metadata={SINCE: "0.2.0"})
    mask_block: Block = field(default=16, metadata={SINCE: "0.2.0"})
    mask_value: float = field(default=0.0, metadata={SINCE: "0.2.0"})

    def __post_init__(self) -> None:
        for name in ("crop", "flips", "normalize", "spacing", "mask_block"):
            object.__setattr__(self, name, tuples(getattr(self, name)))
        if not isinstance(self.crop, tuple) or len(self.crop) != 3 or not all(is_int(c) and c > 0 for c in self.crop):
            raise ValueError(f"crop: expected three positive integers (D, H, W), got {self.crop!r}")
        if len(set(self.flips)) != len(self.flips) or not set(self.flips) <= set(AXES):
            raise ValueError(f"flips: expected some of 'D', 'H', 'W', each once, got {self.flips!r}")
        if not is_int(self.crops_per_volume) or self.crops_per_volume < 1:
            raise ValueError(f"crops_per_volume: expected an integer of at least 1, got {self.crops_per_volume!r}")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground: expected a probability from 0 to 1, got {self.foreground!r}")
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"dtype: expected 'float32' or 'float16', got {self.dtype!r}")
        self._check_pretext()
        if self.slices is not None and not isinstance(self.slices, Slices):
            raise ValueError(f"slices: expected dali_cr.Slices or None, got {self.slices!r}")
        if self.slices and self.crop[0] != 1:
            raise ValueError(f"crop: expected (1, rows, columns) with slices, got {self.crop}")
        check_spacing(self.spacing)
        if self.slices and self.spacing:
            raise ValueError(
                f"spacing: expected none with slices, got {self.spacing}: slices keep that of their file; drop slices "
                f"for a crop of {self.crop} anywhere in the resampled volume, or resample the files"
            )
        check_normalize(self.normalize)
        self.swap.check(self.crop)

    def _check_pretext(self) -> None:
        """Raise ValueError unless it is one, with a mask that can be; set the fields that it has no use for."""
        if self.pretext not in get_args(Pretext):
            raise ValueError(f"pretext: expected {', '.join(map(repr, get_args(Pretext)))}, got {self.pretext!r}")
        if self.pretext in ("autoencode", "mae"):
            object.__setattr__(self, "swap", Swap(iterations=0))
        if self.pretext == "mae":
            divide_into_blocks(self.crop, self.mask_block, self.mask_ratio)
            value: Any = self.mask_value
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"mask_value: expected a finite number, got {value!r}")
            object.__setattr__(self, "mask_value", float(value))
        else:
            for name in ("mask_ratio", "mask_block", "mask_value"):
                object.__setattr__(self, name, type(self).__dataclass_fields__[name].default)

    @property
    def mask_grid(self) -> MaskGrid | None:
        """The blocks of the crop of which some are masked; None with a pretext that masks none."""
        return divide_into_blocks(self.crop, self.mask_block, self.mask_ratio) if self.pretext == "mae" else None

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """The crop."""
        return (self.crop,)

    @property
    def fingerprint(self) -> str:
        """Hash of the fields; see `dali_cr.recipe.fingerprint.fingerprint`."""
        return fingerprint(self)
