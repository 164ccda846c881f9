"""Define the command-line options of a recipe, and build the recipe from them."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from dali_cr.recipe.restoration import Pretext, Restoration
from dali_cr.recipe.slices import ORDERS, Slices
from dali_cr.recipe.swap import Swap
from dali_cr.recipe.views import Views


def add_recipe(command: argparse.ArgumentParser) -> None:
    """Add the options of a recipe to a command.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    _add_crop(command)
    _add_corruption(command)
    _add_augmentation(command)


def _add_crop(command: argparse.ArgumentParser) -> None:
    """Add the options of crops."""
    command.add_argument(
        "--recipe", choices=("restoration", "pcrlv2"), default="restoration", help="crop pairs or views"
    )
    command.add_argument(
        "--spacing", type=float, nargs=3, metavar=("D", "H", "W"), help="resample to this spacing in mm"
    )
    command.add_argument(
        "--crop", type=int, nargs=3, default=[64, 64, 64], metavar=("D", "H", "W"), help="crop size in voxels"
    )
    command.add_argument("--slices-axis", choices=tuple(ORDERS), help="use slices across this axis as samples")
    command.add_argument("--slices-every", type=int, default=1, metavar="N", help="use every N-th slice")
    command.add_argument("--slices-empty", action="store_true", help="include slices without foreground")
    command.add_argument(
        "--normalize",
        nargs="+",
        metavar="HOW",
        help="zscore (default), zscore-image, percentile, none, or window LOW HIGH (pcrlv2: window -1000 1000)",
    )
    command.add_argument("--foreground", type=float, default=0.9, help="probability of a crop centred on foreground")


def _add_corruption(command: argparse.ArgumentParser) -> None:
    """Add the options of the pretext."""
    command.add_argument("--iterations", type=int, default=100, help="number of swaps")
    command.add_argument(
        "--patch",
        type=int,
        nargs="+",
        default=[4, 16],
        metavar="N",
        help="edges of patches: N, LOW HIGH, D H W, or LOW HIGH for each of D H W",
    )
    command.add_argument("--each-patch-once", action="store_true", help="patches of a sample do not overlap")
    command.add_argument("--pretext", choices=get_args(Pretext), default="swap", help="how a crop is corrupted")
    command.add_argument("--mask-ratio", type=float, default=0.75, help="share of masked blocks with --pretext mae")
    command.add_argument(
        "--mask-block", type=int, nargs="+", default=[16], metavar="N", help="edges of a block: N, or D H W"
    )


def _add_augmentation(command: argparse.ArgumentParser) -> None:
    """Add the options of augmentation."""
    command.add_argument("--rotate", type=float, default=0.0, metavar="DEGREES", help="largest rotation about an axis")
    command.add_argument(
        "--scale", type=float, nargs=2, default=[1.0, 1.0], metavar=("LOW", "HIGH"), help="scale range"
    )
    command.add_argument("--noise", type=float, default=0.0, help="largest standard deviation of input noise")
    command.add_argument("--gamma", type=float, default=0.0, help="largest logarithm of the input's gamma")
    command.add_argument(
        "--augment-probability", type=float, default=0.2, help="of rotation, scaling, noise and gamma each"
    )


def recipe_of(chosen: argparse.Namespace) -> Restoration | Views:
    """Build the recipe from the options.

    Parameters
    ----------
    chosen : argparse.Namespace
        Options of `add_recipe`.

    Returns
    -------
    recipe : Restoration or Views

    Raises
    ------
    ValueError
        If an option is invalid.
    """
    if chosen.recipe == "pcrlv2":
        options = {"normalize": _normalize(chosen.normalize)} if chosen.normalize else {}
        return Views(foreground=chosen.foreground, spacing=chosen.spacing, **options)
    return Restoration(
        crop=tuple(chosen.crop),
        swap=Swap(iterations=chosen.iterations, patch=_patch(chosen.patch), overlap=not chosen.each_patch_once),
        normalize=_normalize(chosen.normalize or ["zscore"]),
        foreground=chosen.foreground,
        slices=_slices(chosen),
        spacing=chosen.spacing,
        pretext=chosen.pretext,
        mask_ratio=chosen.mask_ratio,
        mask_block=_block(chosen.mask_block),
        degrees=chosen.rotate,
        scale=tuple(chosen.scale),
        affine_probability=chosen.augment_probability,
        noise=chosen.noise,
        gamma=chosen.gamma,
        intensity_probability=chosen.augment_probability,
    )


def _block(numbers: list[int]) -> Any:
    """Parse a block from one or three numbers."""
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _slices(chosen: argparse.Namespace) -> Slices | None:
    """Build the slices from the options."""
    if chosen.slices_axis:
        return Slices(chosen.slices_axis, chosen.slices_every, skip_empty=not chosen.slices_empty)
    if chosen.slices_every != 1 or chosen.slices_empty:
        raise ValueError("--slices-axis: expected D, H or W with the other options of slices, got none")
    return None


def _patch(numbers: list[int]) -> Any:
    """Parse a patch from one, two, three or six numbers."""
    if len(numbers) == 6:
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _normalize(words: list[str]) -> Any:
    """Parse the normalisation from the words of the option."""
    if words[0] == "window" and len(words) == 3:
        return "window", float(words[1]), float(words[2])
    if len(words) > 1:
        raise ValueError(
            f"normalize: expected zscore, zscore-image, percentile, none or window LOW HIGH, got {' '.join(words)}"
        )
    return None if words[0] == "none" else words[0]
