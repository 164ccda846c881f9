"""A network: its module, what it was sized for, and the list of tensors that make up its encoder.

What is pre-trained is worth keeping only as far as the next task can take it over, so a network states which of its
tensors are the encoder, one by one, instead of leaving it to a prefix that a second module may share. Each network has
a file of its own, whose `build` makes it from `Sizes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from dali_cr.volume.geometry import Triple


@dataclass(frozen=True)
class Levels:
    """The levels of a U-Net, where they are not derived from a crop."""

    strides: tuple[Triple, ...]
    """Of each level after the first."""
    widths: tuple[int, ...]
    """Channels of each level."""
    kernels: tuple[Triple, ...] | None = None
    """Of the convolutions of each level; 3 along every axis of all of them without it."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Levels | None:
        """Return the levels that a network's `about` names, None where they were derived from its crop."""
        known = about.get("levels")
        if not known:
            return None
        kernels = known.get("kernels")
        return cls(tuple(map(tuple, known["strides"])), tuple(known["widths"]), kernels and tuple(map(tuple, kernels)))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a network is built for."""

    name: str
    """A key of `train.networks.build.NETWORKS`."""
    channels: int
    """Channels of a case, which go in."""
    crop: Triple
    """(D, H, W) of a crop; D is 1 where dims is 2."""
    filters: int
    """Channels of the first level."""
    outputs: int
    """Channels that come out of the decoder."""
    levels: Levels | None = None
    """In place of those that crop and filters would make; for a dynunet."""
    dims: int = 3
    """2 for (B, C, H, W), 3 for (B, C, D, H, W)."""
    skips: bool | None = None
    """Whether the decoder gets the encoder's features of each level; None for a network that leaves no choice."""

    @property
    def about(self) -> dict[str, Any]:
        """What to call `build_network` with to build it again, JSON-able."""
        about = {"network": self.name, "channels": self.channels, "crop": list(self.crop), "filters": self.filters}
        about |= {"outputs": self.outputs, "dims": self.dims}
        about |= {} if self.skips is None else {"skips": self.skips}
        return about | ({"levels": asdict(self.levels)} if self.levels else {})

    def check_multiple(self, step: int) -> None:
        """Refuse a crop whose edges cannot be halved until `step` voxels are one.

        Raises
        ------
        ValueError
            With edges that would do.
        """
        for axis, edge in list(zip("DHW", self.crop, strict=True))[3 - self.dims :]:
            if edge % step:
                near = edge // step * step
                would = f"{near} or {near + step}" if near else step
                raise ValueError(
                    f"crop: {self.name} wants multiples of {step}, got {edge} along {axis}; {would} would do"
                )


@dataclass(frozen=True, kw_only=True)
class Network:
    """A module that maps (B, C, D, H, W), or (B, C, H, W), to as many voxels, and the names of its tensors."""

    module: nn.Module
    """What is trained."""
    tensors: tuple[str, ...]
    """Every tensor of its ``state_dict()`` once, without the second names that some module trees give."""
    encoder: tuple[str, ...]
    """Of these, the ones to take over into a network for another task."""
    head: tuple[str, ...]
    """Of these, the ones that make the output, and are new in every task."""
    features: nn.Module
    """The encoder alone, of the same parameters: from an image to the coarsest features; its ``state_dict()`` has the
    tensors of `encoder`, under the same names."""
    width: int
    """Channels of these features."""
    strides: Triple
    """Voxels along D, H and W that are one of these features; a crop's edges are multiples of them."""
    classifier: Callable[[int], nn.Module] | None = None
    """From a number of classes to the network's own head, which maps features to (B, classes); None where it has none
    and `train.networks.heads.Classifier` is put on top."""
    dims: int = 3
    """2 for (B, C, H, W), 3 for (B, C, D, H, W)."""
    about: dict[str, Any] = field(default_factory=dict)
    """What to call to build it again, JSON-able."""

    @property
    def outputs(self) -> int:
        """Channels that come out of the decoder."""
        return int(self.about["outputs"])

    @property
    def levels(self) -> Levels | None:
        """The levels that were asked for, None where they follow from crop and filters."""
        return Levels.of(self.about)

    @property
    def parameters(self) -> int:
        """The number of trained numbers."""
        return sum(parameter.numel() for parameter in self.module.parameters())
