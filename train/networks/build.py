"""Registry and creation of networks by name."""

from __future__ import annotations

from types import ModuleType

from dali_cr.volume.geometry import Triple

from . import dynunet, locnet, nsunet, sononet
from .network import Levels, Network, Sizes

NETWORKS: dict[str, ModuleType] = {
    "dynunet": dynunet,
    "sononet64": sononet,
    "locnet": locnet,
    "nsunet": nsunet,
    "nsunet-skips": nsunet,
}
"""The module of each network, with

* ``check(sizes)``, which is fast and raises ValueError if the network cannot be built for a crop, and
* ``build(sizes) -> Network``.
"""

ENCODER_OF = {"nsunet-skips": "nsunet"}
"""Networks that can be initialised from another network with the same encoder."""

FILTERS = {"dynunet": 16}
"""Default channels of the first level; 64 for all others, as published."""


def sizes_of(
    name: str,
    channels: int,
    crop: Triple,
    filters: int | None = None,
    outputs: int | None = None,
    levels: Levels | None = None,
    dims: int = 3,
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
        raise ValueError(f"levels: expected them with dynunet only, got {name}")
    sizes = Sizes(name=name, channels=channels, crop=crop, filters=filters, outputs=outputs, levels=levels, dims=dims)
    NETWORKS[name].check(sizes)
    return sizes


def build_network(
    name: str,
    channels: int,
    crop: Triple,
    filters: int | None = None,
    outputs: int | None = None,
    levels: Levels | None = None,
    dims: int = 3,
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

    Returns
    -------
    Network
        With new weights, drawn from torch's global random state.

    Raises
    ------
    ValueError
        If there is no network of this name, or it cannot be built for the crop.

    Examples
    --------
    >>> build_network("dynunet", channels=1, crop=(32, 48, 32)).parameters
    1401153
    """
    sizes = sizes_of(name, channels, crop, filters, outputs, levels, dims)
    network: Network = NETWORKS[name].build(sizes)
    return network
