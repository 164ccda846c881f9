"""Evaluation of restoration on held-out cases."""

from __future__ import annotations

import math

import torch
from torch import nn

import dali_cr
from dali_cr.recipe.restoration import Pretext

from ..run.device import autocast
from .errors import Errors
from .foreground import find_foreground
from .method import Measured

SEED = 0
"""Seed of the held-out samples, independent of the training seed, so that runs are compared on the same samples."""

_GIVEN = {"swap": "input", "inpaint": "erased", "mae": "masked"}
"""Name of the network's input in the preview, by pretext; the input of an autoencoder is the target."""


@torch.no_grad()
def evaluate(module: nn.Module, loader: dali_cr.Loader, samples: int, pretext: Pretext) -> Measured:
    """Evaluate a network on the loader's first `samples` samples.

    Parameters
    ----------
    module : nn.Module
        Maps input to restored, (B, C, D, H, W) or (B, C, H, W); set to training mode on return.
    loader : dali_cr.Loader
        A new loader over held-out cases, starting at sample 0.
    samples : int
        Number of samples, at least 1.
    pretext : str
        The corruption.

    Returns
    -------
    Measured
        ``restoration_gain`` is 1 - MSE(restored, target) / MSE(input, target): 0 is the identity, 1 is perfect, None if
        nothing was changed. ``changed_share`` is the fraction of voxels that the corruption changed. ``mse`` is the
        mean squared error, ``psnr`` the peak signal-to-noise ratio in dB relative to the range of the targets, None if
        the range or the error is 0.

        With ``pretext="mae"``, all errors are those of masked foreground voxels, and ``r2`` is R² = 1 - MSE(restored,
        target) / variance(target) over these voxels, the variance within each sample and channel: 0 is no better than a
        constant, 1 is perfect. Voxels that an anonymisation mask marks count nowhere.
    """
    device = next(module.parameters()).device
    errors, changed, seen = Errors(), torch.zeros((), dtype=torch.int64, device=device), 0
    range_of = torch.tensor([math.inf, -math.inf], device=device)
    batches = loader.stream()
    module.eval()
    while errors.samples < samples:
        batch = {name: value[: samples - errors.samples] for name, value in next(batches).items()}
        target, input = batch["target"], batch["input"]
        with autocast(device):
            predictions = {"input": input, "restored": module(input).float()}
        where = batch["mask"] & find_foreground(loader, batch) if pretext == "mae" else None
        if "valid" in batch:
            where = batch["valid"].expand_as(target) if where is None else where & batch["valid"]
        if pretext == "mae" and where is not None:
            predictions["mean"] = mean_where(target, where)
        errors.add(target, predictions, where)
        changed, seen = changed + (input != target).sum(), seen + target.numel()
        range_of = torch.stack([range_of[0].minimum(target.min()), range_of[1].maximum(target.max())])
    module.train()
    numbers = _numbers(errors, *range_of.tolist())
    numbers["changed_share"] = changed.item() / seen
    shown = ("target", "input", "restored") if pretext in _GIVEN else ("target", "restored")
    rows = {_GIVEN[pretext] if name == "input" else name: row for name, row in errors.slices(*shown).items()}
    return Measured(numbers, describe(numbers, pretext), rows)


def mean_where(target: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Return the mean over masked voxels of each sample and channel, (B, C, 1, ...); 0 if there are none."""
    axes = tuple(range(2, target.ndim))
    return target.where(where, 0.0).sum(axes, keepdim=True) / where.sum(axes, keepdim=True).clamp(min=1)


def _numbers(errors: Errors, low: float, high: float) -> dict[str, float | None]:
    """Return the metrics from the sums of errors and the range of the targets."""
    sums, voxels = errors.sums(), errors.voxels
    before, left = sums["input"], sums["restored"]
    numbers = {
        "restoration_gain": 1 - left / before if before else None,
        "mse": left / voxels if voxels else None,
        "psnr": 10 * math.log10((high - low) ** 2 * voxels / left) if high > low and left > 0 else None,
    }
    if "mean" in sums:
        numbers["r2"] = 1 - left / sums["mean"] if sums["mean"] else None
    return numbers


def describe(numbers: dict[str, float | None], pretext: Pretext) -> str:
    """Return the metrics as a line of text."""
    gain, psnr = numbers["restoration_gain"], numbers["psnr"]
    if pretext == "autoencode":
        return f"MSE {numbers['mse']:.4g}, PSNR {'undefined' if psnr is None else f'{psnr:.2f} dB'}; nothing is changed"
    if pretext == "mae":
        r2, share = numbers["r2"], numbers["changed_share"]
        return (
            f"R² {'undefined' if r2 is None else f'{r2:.3f}'} on masked foreground; {share:.1%} of the voxels changed"
        )
    done = {"swap": "the swaps", "inpaint": "erasing"}[pretext]
    text = "undefined" if gain is None else f"{gain:.3f}"
    return f"restoration gain {text}; {done} changed {numbers['changed_share']:.1%} of the voxels"
