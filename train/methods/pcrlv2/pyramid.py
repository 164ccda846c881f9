"""Non-skip U-Net with contrastive and restoration heads at each decoder level, and the terms of PCRLv2's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from ...networks.nsunet import CONVOLUTION, NORM
from .contrastive import ContrastiveHead, HeadOutput, contrastive_loss, local_contrastive_loss

RestorationHead = Literal["code", "paper"]
"""Restoration head: "code" is convolution, batch norm and sigmoid, as in the public 3-D code; "paper" is convolution,
batch norm, ReLU and convolution, as in the public 2-D code and, according to a comment in nnssl, in the paper."""


class Pyramid(nn.Module):
    """Non-skip U-Net with a contrastive head and a restoration head at each decoder level.

    Parameters
    ----------
    unet : NsUNet or NoSkipUNet
        Of `train.networks`: has `pyramid`, `output`, `level_widths` and `dims`.
    outputs : int
        Channels to restore.
    restoration_head : "code" or "paper"
    linear : bool
        Whether the restored view may leave 0...1: without a sigmoid at the full resolution, as in the public 2-D code.

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. TPAMI 45(7), 2023.
    """

    def __init__(
        self, unet: Any, outputs: int, restoration_head: RestorationHead = "code", *, linear: bool = False
    ) -> None:
        super().__init__()
        widths = unet.level_widths
        self.unet, self.levels, self.linear = unet, len(widths), linear
        self.comparers = nn.ModuleList(ContrastiveHead(width) for width in widths)  # named as in checkpoints
        self.restorers = nn.ModuleList(_restorer(unet.dims, width, outputs, restoration_head) for width in widths)

    def forward(
        self, view: torch.Tensor, target: torch.Tensor, local: torch.Tensor, levels: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """Return the unweighted terms of the loss; in 2-D, arrays have no axis D.

        Parameters
        ----------
        view : (B, 2, C, D, H, W) float
            Corrupted global views.
        target : (B, 2, C, D, H, W) float
            The clean global views, scaled to 0…1, or if `linear` standardized.
        local : (B, V, C, d, h, w) float
            Local views.
        levels : sequence of int
            1 + 2 V decoder levels, 0 is the coarsest: one for the contrastive loss of the global views and for the
            restoration of a level, then two for each local view, for its losses to the first and second global view.
        """
        here, pairs = levels[0], list(zip(levels[1::2], levels[2::2], strict=True))
        if len(pairs) != local.shape[1]:
            raise ValueError(
                f"levels: expected 1 + 2 × {local.shape[1]} levels for {local.shape[1]} local views, got {len(levels)}"
            )
        first, second = {here, *levels[1::2]}, {here, *levels[2::2]}
        clean = target[:, 0].float()

        pyramid = self.unet.pyramid(view[:, 0])
        restored = self.restored(pyramid)
        one = self._heads(pyramid, first)
        two = self._heads(self.unet.pyramid(view[:, 1], max(second) + 1), second)
        wanted = set(levels[1:])
        parts = self._heads(self.unet.pyramid(local.flatten(0, 1), max(wanted) + 1), wanted)
        shape = local.shape[:2]
        local_outputs = {
            level: HeadOutput(*(values.unflatten(0, shape) for values in output)) for level, output in parts.items()
        }
        return {
            "restoration": F.mse_loss(restored, clean),
            "contrastive": contrastive_loss(one[here], two[here]),
            "restoration_of_level": F.mse_loss(self.restored_at(pyramid[here], here), clean),
            "contrastive_local": local_contrastive_loss(one, two, local_outputs, pairs),
        }

    def restored(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the restoration from the finest decoder level, (B, outputs, D, H, W) float32."""
        output: torch.Tensor = self.unet.output(pyramid[-1]).float()
        return output if self.linear else output.sigmoid()

    def restored_at(self, features: torch.Tensor, level: int) -> torch.Tensor:
        """Return the restoration from a decoder level, (B, outputs, D, H, W) float32.

        The output is upsampled to the size of the view after any sigmoid, as in the public code; the target is not
        downsampled.
        """
        return upsample(self.restorers[level](features), 2 ** (self.levels - 1 - level))

    def _heads(self, pyramid: Sequence[torch.Tensor], levels: set[int]) -> dict[int, HeadOutput]:
        return {level: self.comparers[level](pyramid[level]) for level in sorted(levels)}


def _restorer(dims: int, width: int, outputs: int, kind: RestorationHead) -> nn.Sequential:
    convolution, norm = CONVOLUTION[dims], NORM[dims]
    if kind == "code":
        return nn.Sequential(convolution(width, outputs, 3, padding=1), norm(outputs), nn.Sigmoid())
    # Kernel sizes as in the public 2-D code.
    return nn.Sequential(
        convolution(width, width, 3, padding=1),
        norm(width),
        nn.ReLU(inplace=True),
        convolution(width, outputs, 1),
    )


def upsample(volumes: torch.Tensor, factor: int) -> torch.Tensor:
    """Upsample (B, C, D, H, W) by a factor along each axis, by linear interpolation in float32.

    Computed as one matrix product along each axis, since CUDA's trilinear interpolation has no deterministic backward
    pass.
    """
    with torch.autocast(volumes.device.type, enabled=False):
        volumes = volumes.float()
        if factor == 1:
            return volumes
        for axis in range(2, volumes.ndim):
            ones = torch.eye(volumes.shape[axis], device=volumes.device)
            weights = F.interpolate(ones[None], scale_factor=factor, mode="linear")[0]
            volumes = (volumes.movedim(axis, -1) @ weights).movedim(-1, axis)
    return volumes
