"""A non-skip U-Net with heads at each level of its decoder, and the terms of PCRLv2's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from ...networks.nsunet import CONVOLUTION, NORM
from .comparison import Comparer, Said, compare_locals, disagreement

RestorationHead = Literal["code", "paper"]
"""What restores a level: a convolution, batch norm and a sigmoid as in the public 3-D code, or a convolution, batch
norm, ReLU and another convolution, as in the paper (so says a comment of nnssl) and in the public 2-D code."""


class Pyramid(nn.Module):
    """A non-skip U-Net, and at each level of its decoder a head to compare by and one to restore by.

    Parameters
    ----------
    unet : NsUNet or NoSkipUNet
        Of `train.networks`: has `pyramid`, `output`, `level_widths` and `dims`.
    outputs : int
        Channels that it restores.
    restoration_head : "code" or "paper"

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. TPAMI 45(7), 2023.
    """

    def __init__(self, unet: Any, outputs: int, restoration_head: RestorationHead = "code") -> None:
        super().__init__()
        widths = unet.level_widths
        self.unet, self.levels = unet, len(widths)
        self.comparers = nn.ModuleList(Comparer(width) for width in widths)
        self.restorers = nn.ModuleList(_restorer(unet.dims, width, outputs, restoration_head) for width in widths)

    def forward(
        self, view: torch.Tensor, target: torch.Tensor, local: torch.Tensor, levels: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """Return the terms of the loss, not weighted; in 2-D all is without the axis D.

        Parameters
        ----------
        view : (B, 2, C, D, H, W) float
            The corrupted global views.
        target : (B, 2, C, D, H, W) float
            The same, clean and in 0…1.
        local : (B, V, C, d, h, w) float
            The local views.
        levels : sequence of int
            1 + 2 V levels, 0 the coarsest: of the comparison of the global views and of the restoration beside it,
            then for each local view those of its comparisons with the first and the second global view.
        """
        here, pairs = levels[0], list(zip(levels[1::2], levels[2::2], strict=True))
        if len(pairs) != local.shape[1]:
            raise ValueError(f"levels: expected 1 and two for each of {local.shape[1]} local views, got {len(levels)}")
        first, second = {here, *levels[1::2]}, {here, *levels[2::2]}
        clean = target[:, 0].float()

        pyramid = self.unet.pyramid(view[:, 0])
        restored = self.unet.output(pyramid[-1]).float().sigmoid()
        one = self._compared(pyramid, first)
        two = self._compared(self.unet.pyramid(view[:, 1], max(second) + 1), second)
        wanted = set(levels[1:])
        parts = self._compared(self.unet.pyramid(local.flatten(0, 1), max(wanted) + 1), wanted)
        shape = local.shape[:2]
        seen = {level: Said(*(numbers.unflatten(0, shape) for numbers in said)) for level, said in parts.items()}
        return {
            "restoration": F.mse_loss(restored, clean),
            "comparison": disagreement(one[here], two[here]),
            "restoration_of_level": F.mse_loss(self.restored_at(pyramid[here], here), clean),
            "comparison_of_locals": compare_locals(one, two, seen, pairs),
        }

    def restored_at(self, features: torch.Tensor, level: int) -> torch.Tensor:
        """Return what a level restores, (B, outputs, D, H, W) float32.

        The answer is enlarged to the edges of the view, not the target made smaller, and that behind the sigmoid: as in
        the public code.
        """
        return enlarge(self.restorers[level](features), 2 ** (self.levels - 1 - level))

    def _compared(self, pyramid: Sequence[torch.Tensor], levels: set[int]) -> dict[int, Said]:
        return {level: self.comparers[level](pyramid[level]) for level in sorted(levels)}


def _restorer(dims: int, width: int, outputs: int, kind: RestorationHead) -> nn.Sequential:
    convolution, norm = CONVOLUTION[dims], NORM[dims]
    if kind == "code":
        return nn.Sequential(convolution(width, outputs, 3, padding=1), norm(outputs), nn.Sigmoid())
    # Its kernels are those of the 2-D code.
    return nn.Sequential(
        convolution(width, width, 3, padding=1),
        norm(width),
        nn.ReLU(inplace=True),
        convolution(width, outputs, 1),
    )


def enlarge(volumes: torch.Tensor, factor: int) -> torch.Tensor:
    """Return (B, C, D, H, W) with each edge `factor` times as long, by linear interpolation, in float32.

    One product with a matrix along each axis: the backward pass of CUDA's trilinear interpolation is not deterministic.
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
