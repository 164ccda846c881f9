"""Building of a task's network in the sizes of its crop and its initialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dali_cr.volume.geometry import Triple

from ..networks.build import build_network
from ..networks.network import Levels, Network
from ..networks.plans import read_levels
from ..networks.resnet.pretrained import initialize_encoder
from .config.finetune import FinetuneConfig
from .task import TaskInput
from .transfer import Init


def size_network(
    config: FinetuneConfig,
    init: Init | None,
    view: TaskInput,
    channels: int,
    outputs: int,
    earlier: Mapping[str, Any] | None = None,
) -> Network:
    """Build the network, with the levels of the init or else with levels for the crop, and with --encoder-weights.

    Parameters
    ----------
    config : FinetuneConfig
    init : Init, optional
        Weights to transfer later.
    view : TaskInput
    channels, outputs : int
    earlier : mapping, optional
        The config.json of the run to resume, whose weights are loaded later.

    Raises
    ------
    ValueError
        If the crop is invalid for the network, the init has another number of channels, or --encoder-weights do not
        fit.
    """
    seen: Triple = tuple(edge // k for edge, k in zip(view.crop, view.shrink, strict=True))  # type: ignore[assignment]
    if init and init.about.get("channels", channels) != channels:
        raise ValueError(
            f"init: expected {channels} channels, as the data have, {init.path} has {init.about['channels']}; "
            "pre-train on images with the same number of channels"
        )
    if init and init.crop and config.topology not in (None, init.crop):
        wanted, got = (" ".join(map(str, crop)) for crop in (init.crop, config.topology))
        raise ValueError(f"topology: expected no --topology with --init, or {wanted} as in {init.path}; got {got}")
    topology = config.topology or (init.crop if init else None) or seen
    filters = config.filters or (init.about.get("filters") if init else None)
    levels = Levels.of(init.about) if init else None
    if config.plans:
        levels = read_levels(config.plans, config.configuration, seen, config.dims)
    network = build_network(config.network, channels, topology, filters, outputs, levels, config.dims)
    steps = [k * stride for k, stride in zip(view.shrink, network.strides, strict=True)]
    for axis, edge, step in zip("DHW", view.crop, steps, strict=True):
        if edge % step:
            raise ValueError(
                f"crop: expected a multiple of {step} along {axis}, for the network's strides and --shrink; got "
                f"{edge}. Use {edge // step * step or step} or {edge // step * step + step}"
            )
    if math.prod(edge // step for edge, step in zip(view.crop, steps, strict=True)) < network.least_cells:
        got, would = (" ".join(map(str, edges)) for edges in (view.crop, (*view.crop[:2], 2 * view.crop[2])))
        raise ValueError(
            f"crop: expected {network.least_cells} voxels or more at the coarsest level, for its instance norm; "
            f"got {got}; use {would}"
        )
    return initialize_encoder(network, config.encoder_weights, _later_weights(init, earlier))


def _later_weights(init: Init | None, earlier: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the metadata of weights that are loaded later; None if there are none."""
    return earlier["network"] if earlier else init.about if init else None
