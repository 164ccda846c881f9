"""Registry and creation of networks by name."""

from __future__ import annotations

from types import ModuleType

from dali_cr.volume.geometry import Triple

from . import dynunet, locnet, nsunet, resenc, sononet
from .network import Levels, Network, Sizes
from .resnet import unet as resnet

NETWORKS: dict[str, ModuleType] = {
    "dynunet": dynunet,
    "sononet64": sononet,
    "locnet": locnet,
    "nsunet": nsunet,
    "nsunet-skips": nsunet,
    "resenc-l": resenc,
    "resenc-s": resenc,
    "resnet18": resnet,
    "resnet18-skips": resnet,
}
"""The module of each network, with

* ``check(sizes)``, which is fast and raises ValueError if the network cannot be built for a crop, and
* ``build(sizes) -> Network``.
"""

ENCODER_OF = {"nsunet-skips": "nsunet", "resnet18-skips": "resnet18"}
"""Networks that can be initialised from another network with the same encoder."""

FILTERS = {"dynunet": 16, "resenc-l": 32, "resenc-s": 8}
"""Default channels of the first level; 64 for all others, as published."""

SKIPS: dict[str, tuple[bool, ...]] = {
    "dynunet": (True,),
    "sononet64": (False,),
    "locnet": (False,),
    "nsunet": (False,),
    "nsunet-skips": (True,),
    "resenc-l": (True, False),
    "resenc-s": (True, False),
    "resnet18": (False,),
    "resnet18-skips": (True,),
}
"""Whether the decoder of a network gets the encoder's features of each level; the first value is the default."""

_WITH = {True: "built with skips", False: "built without skips"}


def sizes_of(
    name: str,
    channels: int,
    crop: Triple,
    filters: int | None = None,
    outputs: int | None = None,
    levels: Levels | None = None,
    dims: int = 3,
    skips: bool | None = None,
) -> Sizes:
    """Check the arguments of `build_network` and return the sizes, without building the network."""
    if name not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(sorted(NETWORKS))}, got {name!r}")
    filters = FILTERS.get(name, 64) if filters is None else filters
    outputs = channels if outputs is None else outputs
    if channels < 1 or filters < 1 or outputs < 1:
        raise ValueError(
            f"network: expected at least one channel, filter and output, got {channels}, {filters} and {outputs}"
        )
    if dims not in (2, 3) or (dims == 2 and crop[0] != 1):
        raise ValueError(f"dims: expected 3, or 2 with a crop of one voxel along D; got {dims} with {crop}")
    if levels and name != "dynunet":
        raise ValueError(f"levels: expected --network dynunet, got {name}")
    sizes = Sizes(
        name=name,
        channels=channels,
        crop=crop,
        filters=filters,
        outputs=outputs,
        levels=levels,
        dims=dims,
        skips=_choose_skips(name, skips),
    )
    NETWORKS[name].check(sizes)
    return sizes


def _choose_skips(name: str, skips: bool | None) -> bool | None:
    """Return whether a network has skips; None if it has no choice."""
    ways = SKIPS[name]
    if skips is not None and skips not in ways:
        others = ", ".join(other for other, can in SKIPS.items() if skips in can)
        raise ValueError(f"network: expected one that can be {_WITH[skips]}, got {name}; use {others}")
    return None if len(ways) == 1 else ways[0] if skips is None else skips


def build_network(
    name: str,
    channels: int,
    crop: Triple,
    filters: int | None = None,
    outputs: int | None = None,
    levels: Levels | None = None,
    dims: int = 3,
    skips: bool | None = None,
) -> Network:
    """Build a network for a crop.

    Parameters
    ----------
    name : str
        A key of `NETWORKS`.
    channels : int
        Input channels, those of a case.
    crop : (D, H, W) int
        Crop in voxels; D is 1 if dims is 2.
    filters : int, optional
        Channels of the first level; those of `FILTERS` if not given.
    outputs : int, optional
        Output channels; by default the input channels, for restoration.
    levels : Levels, optional
        Levels, in place of those derived from crop and filters.
    dims : 2 or 3
        2 for input (B, C, H, W), 3 for (B, C, D, H, W).
    skips : bool, optional
        Whether the decoder gets the encoder's features of each level; by default the first option in `SKIPS`.

    Returns
    -------
    Network
        With new weights, drawn from torch's global random state.

    Raises
    ------
    ValueError
        If there is no network of this name, or it cannot be built for the crop, or with or without skips.

    Examples
    --------
    >>> build_network("dynunet", channels=1, crop=(32, 48, 32)).parameters
    1401153
    """
    sizes = sizes_of(name, channels, crop, filters, outputs, levels, dims, skips)
    network: Network = NETWORKS[name].build(sizes)
    return network
