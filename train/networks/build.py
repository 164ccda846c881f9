"""Networks by name."""

from __future__ import annotations

from types import ModuleType

from dali_cr.volume.geometry import Triple

from . import dynunet, locnet, nsunet, resenc, sononet
from .network import Levels, Network, Sizes

NETWORKS: dict[str, ModuleType] = {
    "dynunet": dynunet,
    "sononet64": sononet,
    "locnet": locnet,
    "nsunet": nsunet,
    "nsunet-skips": nsunet,
    "resenc-l": resenc,
    "resenc-s": resenc,
}
"""From a network's name to the module that has

* ``check(sizes)``, which raises a `ValueError` where the network cannot be built for a crop, and is quick, and
* ``build(sizes) -> Network``.
"""

ENCODER_OF = {"nsunet-skips": "nsunet"}
"""From a network to another one that has the same encoder, whose weights it takes over."""

FILTERS = {"dynunet": 16, "resenc-l": 32, "resenc-s": 8}
"""Channels of a network's first level where none are asked for; 64 of all others, as published."""

SKIPS: dict[str, tuple[bool, ...]] = {
    "dynunet": (True,),
    "sononet64": (False,),
    "locnet": (False,),
    "nsunet": (False,),
    "nsunet-skips": (True,),
    "resenc-l": (True, False),
    "resenc-s": (True, False),
}
"""Whether a network's decoder gets the encoder's features of each level, or can do with and without; the first is
what it does where nothing is asked for."""

_WITH = {True: "with skips", False: "without skips"}


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
    """Check what `build_network` is asked for, without building it."""
    if name not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(sorted(NETWORKS))}, got {name!r}")
    filters = FILTERS.get(name, 64) if filters is None else filters
    outputs = channels if outputs is None else outputs
    if channels < 1 or filters < 1 or outputs < 1:
        raise ValueError(
            f"at least one channel, one filter and one output are wanted; {channels}, {filters} and {outputs} came"
        )
    if dims not in (2, 3) or (dims == 2 and crop[0] != 1):
        raise ValueError(f"dims is wanted as 3, or as 2 with a crop of one voxel along D; {dims} came, for {crop}")
    if levels and name != "dynunet":
        raise ValueError(f"levels are wanted for a dynunet only; they came for {name}")
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
    """Return whether a network is to have skips, None for one that leaves no choice.

    Raises
    ------
    ValueError
        With the networks that do what is asked for.
    """
    ways = SKIPS[name]
    if skips is not None and skips not in ways:
        others = ", ".join(other for other, can in SKIPS.items() if skips in can)
        raise ValueError(f"skips: expected {name} {_WITH[not skips]}, its only way, got {_WITH[skips]}; use {others}")
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
        Channels of a case, which go in.
    crop : (D, H, W) int
        Voxels of a crop; D is 1 where dims is 2.
    filters : int, optional
        Channels of the first level; those of `FILTERS` if not given.
    outputs : int, optional
        Channels that come out; as many as go in, to restore, if not given.
    levels : Levels, optional
        In place of those that crop and filters would make.
    dims : 2 or 3
        Whether it takes (B, C, H, W) or (B, C, D, H, W).
    skips : bool, optional
        Whether its decoder gets the encoder's features of each level; the first of the network's ways in `SKIPS` if not
        given.

    Returns
    -------
    Network
        With freshly drawn weights, from torch's global random state.

    Raises
    ------
    ValueError
        When there is no network of this name, or it cannot be sized to the crop or do with or without skips.

    Examples
    --------
    >>> build_network("dynunet", channels=1, crop=(32, 48, 32)).parameters
    1401153
    """
    sizes = sizes_of(name, channels, crop, filters, outputs, levels, dims, skips)
    network: Network = NETWORKS[name].build(sizes)
    return network
