"""The organ localisation network of Chen et al. (2019): SonoNet with one more stack of convolutions and pooling.

With this stack, a feature covers 32 voxels along each axis. Its width is not published; three convolutions of 8 × 64
channels, as in the stack before it, are a project choice.
"""

from __future__ import annotations

from .network import Network, Sizes
from .sononet import STACKS, build_stacks

_STACKS = (*STACKS, (8, 8, 8))


def check(sizes: Sizes) -> None:
    """Check that the edges of the crop can be halved at each pooling."""
    sizes.check_multiple(2 ** (len(_STACKS) - 1))


def build(sizes: Sizes) -> Network:
    """Build the network."""
    return build_stacks(sizes, _STACKS)
