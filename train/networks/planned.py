"""MONAI's `DynUNet` with the kernel sizes of nnU-Net's decoder."""

from __future__ import annotations

from monai.networks.blocks.dynunet_block import UnetUpBlock
from monai.networks.nets.dynunet import DynUNet
from torch import nn


class PlannedUNet(DynUNet):
    """A `DynUNet` whose decoder levels have the kernel sizes of the same encoder level.

    MONAI uses those of the level below. If all levels have the same kernel size, both networks are equal.
    """

    def get_upsamples(self) -> nn.ModuleList:
        """Return the decoder levels, coarsest first."""
        levels: nn.ModuleList = self.get_module_list(
            list(self.filters[:0:-1]),
            list(self.filters[-2::-1]),
            self.kernel_size[-2::-1],
            self.strides[:0:-1],
            UnetUpBlock,  # type: ignore[arg-type] # MONAI expects the class
            self.upsample_kernel_size[::-1],
            trans_bias=self.trans_bias,
        )
        return levels
