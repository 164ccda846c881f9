"""`Restoration`: the settings of context-restoration samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from dali_cr.recipe.augment import NO_SCALE, Range, check_augmentation
from dali_cr.recipe.checks import AXES, is_int, is_number
from dali_cr.recipe.convert import convert_fields
from dali_cr.recipe.fingerprint import SINCE, fingerprint
from dali_cr.recipe.mask import Block, MaskGrid, divide_into_blocks
from dali_cr.recipe.per_dataset import Normalizes, Spacings, check_field, is_resampled
from dali_cr.recipe.slices import Slices
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple

Pretext = Literal["swap", "inpaint", "autoencode", "mae"]

_AUGMENTATION = ("degrees", "scale", "affine_probability", "noise", "gamma", "intensity_probability")
_FLOATS = ("foreground", "mask_ratio", "mask_value", *_AUGMENTATION)


@dataclass(frozen=True)
class Restoration:
    """Context restoration: a clean crop as target, and the crop after T swaps of patches, or another pretext, as input.

    Attributes
    ----------
    crop : (3,) int
        (D, H, W) in voxels (of `spacing`). A crop larger than its volume is padded evenly, the odd voxel last.
    swap : Swap
    flips : tuple of "D", "H", "W"
        Axes of the volume that are flipped for half of the samples. Exclude "W" (left-right) if the side matters.
    normalize : "zscore", "zscore-image", "percentile", ("window", low, high) or None; or a mapping
        "zscore": z-score of the foreground, clipped to +-5. "zscore-image": z-score of the whole image with background,
        in the smallest box around all values other than 0, unclipped (as in nnssl). "percentile": 0.5 to 99.5
        percentiles of the foreground to 0...1, clipped. ("window", low, high): low...high to 0...1, clipped (CT). None:
        no normalisation. For an index of several data sets also one of these by the name of each data set:
        ``{"brains": "zscore", "cts": ("window", -160, 240)}``.
    foreground : float
        Probability that the centre of a crop is drawn from the foreground; otherwise the origin is uniform.
    crops_per_volume : int
        Number of consecutive samples of one volume, which is read once per batch. Values above 1 save reading without a
        cache, but make batches less varied.
    dtype : "float32" or "float16"
    pretext : "swap", "inpaint", "autoencode" or "mae"
        How the input is made from the crop. "swap": patches are swapped. "inpaint": the first patch of each pair is set
        to the padding value (Pathak et al. 2016, with many boxes). "autoencode": unchanged. "mae": blocks of a grid are
        masked (masked autoencoder, He et al. 2022), and batches have a "mask". For the last two, `swap` becomes a swap
        without iterations. The crops are the same for all four.
    slices : Slices, optional
        Use crops of single slices as samples. `crop` is then (1, rows, columns), and `crops_per_volume` the number of
        consecutive samples that are different slices of one volume.
    spacing : (3,) float, optional, or a mapping
        Spacing in mm along (D, H, W) to which volumes are resampled. Default: no resampling. An axis then has max(1,
        round(length * old spacing / spacing)) voxels, and voxel i lies at (i + 0.5) * length / new length - 0.5 of the
        original grid, so that the outer edges of both grids coincide. Values are interpolated trilinearly after
        normalisation and clipping, without a filter, and clamped at the edges of the volume. If the lengths are equal,
        the bits do not change. Pixels of images count as 1 mm. For an index of several data sets also one spacing or
        None by the name of each data set: ``{"brains": (1, 1, 1), "cts": None}``.
    mask_ratio : float
        With "mae": exactly ``round(mask_ratio * blocks)`` blocks are masked, with equal probability for all sets of
        blocks. Without "mae", this field and the next two are reset to their defaults.
    mask_block : int or (3,) int
        Edges of a block in voxels. Blocks start at the first voxel of the flipped crop; the last block of an axis may
        be shorter. A single number becomes 1 along an axis on which the crop is one voxel thick.
    mask_value : float
        Value of masked voxels of the input, after normalisation.
    degrees : float
        Largest rotation about each axis through the centre of the crop, in mm space; angles are uniform from -degrees
        to degrees. A crop that is one voxel thick is rotated within its slice.
    scale : (low, high) float
        Range of the scale, uniform and equal for all axes: above 1 the content looks larger and the crop shows less of
        the volume. A crop that is one voxel thick is scaled within its slice.
    affine_probability : float
        Probability of a rotation and, independently, of a scaling.
    noise : float
        Largest standard deviation of Gaussian noise in the normalised input; uniform from 0 to this.
    gamma : float
        Largest logarithm of a gamma in the input: each channel is mapped to 0...1 by its smallest and largest value in
        the crop, raised to a power, and mapped back. The natural logarithm of the exponent is uniform from -gamma to
        gamma.
    intensity_probability : float
        Probability of noise and, independently, of a gamma.

    Raises
    ------
    ValueError
        If a field is invalid, or the swaps do not fit into the crop.

    Notes
    -----
    Augmentation: origin, `spacing`, flips, rotation and scaling are combined into one trilinear interpolation, without
    a filter before it. As with `spacing`, sources are clamped up to half a voxel outside of the outermost centres, and
    have the padding value farther outside. Samples without rotation and scaling have the same bits as without
    augmentation. Rotation and scaling apply to target and input; then the input gets noise, then gamma, and then
    patches are swapped, erased or masked. nnU-Net and nnssl rotate by up to 30 degrees and multiply coordinates (not
    the content) by 0.7 to 1.4, each with a probability of 0.2.

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
    normalize: Normalizes = "zscore"
    foreground: float = 0.9
    crops_per_volume: int = 1
    dtype: Literal["float32", "float16"] = "float32"
    pretext: Pretext = "swap"
    slices: Slices | None = None
    spacing: Spacings = None
    mask_ratio: float = field(default=0.75, metadata={SINCE: "0.2.0"})
    mask_block: Block = field(default=16, metadata={SINCE: "0.2.0"})
    mask_value: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    degrees: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    scale: Range = field(default=NO_SCALE, metadata={SINCE: "0.2.0"})
    affine_probability: float = field(default=1.0, metadata={SINCE: "0.2.0"})
    noise: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    gamma: float = field(default=0.0, metadata={SINCE: "0.2.0"})
    intensity_probability: float = field(default=1.0, metadata={SINCE: "0.2.0"})

    def __post_init__(self) -> None:
        convert_fields(self, _FLOATS)
        for name in ("normalize", "spacing"):
            object.__setattr__(self, name, check_field(name, getattr(self, name)))
        if not isinstance(self.crop, tuple) or len(self.crop) != 3 or not all(is_int(c) and c > 0 for c in self.crop):
            raise ValueError(f"crop: expected three positive integers (D, H, W), got {self.crop!r}")
        if len(set(self.flips)) != len(self.flips) or not set(self.flips) <= set(AXES):
            raise ValueError(f"flips: expected some of 'D', 'H', 'W', each once, got {self.flips!r}")
        if not is_int(self.crops_per_volume) or self.crops_per_volume < 1:
            raise ValueError(f"crops_per_volume: expected an integer of at least 1, got {self.crops_per_volume!r}")
        if not is_number(self.foreground) or not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground: expected a probability from 0 to 1, got {self.foreground!r}")
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"dtype: expected 'float32' or 'float16', got {self.dtype!r}")
        self._check_pretext()
        for name, value in check_augmentation({name: getattr(self, name) for name in _AUGMENTATION}).items():
            object.__setattr__(self, name, value)
        if self.slices is not None and not isinstance(self.slices, Slices):
            raise ValueError(f"slices: expected dali_cr.Slices or None, got {self.slices!r}")
        if self.slices and self.crop[0] != 1:
            raise ValueError(f"crop: expected (1, rows, columns) with slices, got {self.crop}")
        if self.slices and self.resampled:
            raise ValueError(
                f"spacing: expected none with slices, got {self.spacing}: slices keep that of their file; drop slices "
                f"for a crop of {self.crop} anywhere in the resampled volume, or resample the files"
            )
        self.swap.check(self.crop)

    def _check_pretext(self) -> None:
        """Raise ValueError unless pretext and mask are valid; reset the fields that the pretext does not use."""
        if self.pretext not in get_args(Pretext):
            raise ValueError(f"pretext: expected {', '.join(map(repr, get_args(Pretext)))}, got {self.pretext!r}")
        if self.pretext in ("autoencode", "mae"):
            object.__setattr__(self, "swap", Swap(iterations=0))
        if self.pretext == "mae":
            divide_into_blocks(self.crop, self.mask_block, self.mask_ratio)
            if not is_number(self.mask_value):
                raise ValueError(f"mask_value: expected a finite number, got {self.mask_value!r}")
        else:
            for name in ("mask_ratio", "mask_block", "mask_value"):
                object.__setattr__(self, name, type(self).__dataclass_fields__[name].default)

    @property
    def mask_grid(self) -> MaskGrid | None:
        """The blocks of the crop with the "mae" pretext, otherwise None."""
        return divide_into_blocks(self.crop, self.mask_block, self.mask_ratio) if self.pretext == "mae" else None

    @property
    def resampled(self) -> bool:
        """Whether volumes of any data set are resampled."""
        return is_resampled(self.spacing)

    @property
    def affine(self) -> bool:
        """Whether crops may be rotated or scaled."""
        return self.degrees > 0 or self.scale != NO_SCALE

    @property
    def intensity(self) -> bool:
        """Whether inputs may get noise or a gamma."""
        return self.noise > 0 or self.gamma > 0

    @property
    def augmented(self) -> bool:
        """Whether crops may be rotated or scaled, or inputs may get noise or a gamma."""
        return self.affine or self.intensity

    @property
    def interpolated(self) -> bool:
        """Whether crops are sampled through an affine map."""
        return self.affine or self.resampled

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """The crop, as the only box."""
        return (self.crop,)

    @property
    def fingerprint(self) -> str:
        """Hash of the fields; see `dali_cr.recipe.fingerprint.fingerprint`."""
        return fingerprint(self)
