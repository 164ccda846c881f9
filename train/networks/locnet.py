"""The network of Chen et al.'s (2019) organ localisation: like SonoNet, and one more stack of convolution and pooling.

The stack makes the output smaller: 32 voxels along each axis are one of its features. That it has three convolutions of
8 × 64 channels, like the one before it, is a project choice: its width is not known.
"""

from __future__ import annotations

from .network import Network, Sizes
from .sononet import STACKS, build_stacks

_STACKS = (*STACKS, (8, 8, 8))


def check(sizes: Sizes) -> None:
    """Refuse a crop whose edges cannot be halved at each pooling."""
    sizes.check_multiple(2 ** (len(_STACKS) - 1))


def build(sizes: Sizes) -> Network:
    """Build one, of 64 filters or of others."""
    return build_stacks(sizes, _STACKS)
