"""MONAI's `DynUNet` with the kernels where nnU-Net has them."""

from __future__ import annotations

from monai.networks.blocks.dynunet_block import UnetUpBlock
from monai.networks.nets.dynunet import DynUNet
from torch import nn


class PlannedUNet(DynUNet):
    """A `DynUNet` whose kernels on the way up are those of the same level on the way down.

    MONAI's own are those of the level below. Where all levels have one kernel, as without plans, the two are the same
    network.
    """

    def get_upsamples(self) -> nn.ModuleList:
        """Return the levels of the way up, the coarsest first."""
        levels: nn.ModuleList = self.get_module_list(
            list(self.filters[:0:-1]),
            list(self.filters[-2::-1]),
            self.kernel_size[-2::-1],
            self.strides[:0:-1],
            UnetUpBlock,  # type: ignore[arg-type] # MONAI means the class
            self.upsample_kernel_size[::-1],
            trans_bias=self.trans_bias,
        )
        return levels
