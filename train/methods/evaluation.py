"""How well a network restores cases it never saw."""

from __future__ import annotations

import math

import torch
from torch import nn

import dali_cr
from dali_cr.recipe.restoration import Pretext

from ..run.device import autocast
from .errors import Errors
from .method import Measured

SEED = 0
"""Of the held-out samples, whatever the training's seed: runs are compared on the same corruption."""

_GIVEN = {"swap": "input", "inpaint": "erased"}
"""What the network's input is called in the picture; an autoencoder's is the target."""


@torch.no_grad()
def evaluate(module: nn.Module, loader: dali_cr.Loader, samples: int, pretext: Pretext) -> Measured:
    """Restore the loader's first `samples` samples.

    Parameters
    ----------
    module : nn.Module
        From input, (B, C, D, H, W) or (B, C, H, W), to restored; left in training mode.
    loader : dali_cr.Loader
        Over held-out cases, new: its samples are counted from 0.
    samples : int
        How many, at least 1.
    pretext : str
        What was done to them.

    Returns
    -------
    Measured
        ``restoration_gain`` is 1 - MSE(restored, target) / MSE(input, target): 0 is doing nothing, 1 is perfect,
        and None where nothing was changed. ``changed_share`` is the share of voxels whose value was; ``mse`` the error
        that is left; ``psnr`` the same in dB below the squared range of the targets, None where there is none.
    """
    device = next(module.parameters()).device
    errors, changed = Errors(), torch.zeros((), dtype=torch.int64, device=device)
    range_of = torch.tensor([math.inf, -math.inf], device=device)
    batches = loader.stream()
    module.eval()
    while errors.samples < samples:
        batch = next(batches)
        target, input = (batch[name][: samples - errors.samples] for name in ("target", "input"))
        with autocast(device):
            restored = module(input).float()
        errors.add(target, {"input": input, "restored": restored})
        changed += (input != target).sum()
        range_of = torch.stack([range_of[0].minimum(target.min()), range_of[1].maximum(target.max())])
    module.train()
    before, left = errors.sums().values()
    low, high = range_of.tolist()
    numbers = {
        "restoration_gain": 1 - left / before if before else None,
        "changed_share": changed.item() / errors.voxels,
        "mse": left / errors.voxels,
        "psnr": 10 * math.log10((high - low) ** 2 * errors.voxels / left) if high > low and left > 0 else None,
    }
    shown = ("target", "input", "restored") if pretext in _GIVEN else ("target", "restored")
    rows = {_GIVEN[pretext] if name == "input" else name: row for name, row in errors.slices(*shown).items()}
    return Measured(numbers, say(numbers, pretext), rows)


def say(numbers: dict[str, float | None], pretext: Pretext) -> str:
    """Return the numbers in words."""
    gain, psnr = numbers["restoration_gain"], numbers["psnr"]
    if pretext == "autoencode":
        return f"MSE {numbers['mse']:.4g}, PSNR {'undefined' if psnr is None else f'{psnr:.2f} dB'}; nothing is changed"
    done = {"swap": "the swaps", "inpaint": "erasing"}[pretext]
    said = "undefined" if gain is None else f"{gain:.3f}"
    return f"restoration gain {said}; {done} changed {numbers['changed_share']:.1%} of the voxels"
