"""Description of a network: its module, its sizes, and the names of its encoder's tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from dali_cr.volume.geometry import Triple


@dataclass(frozen=True)
class Levels:
    """Explicit levels of a U-Net, not derived from a crop."""

    strides: tuple[Triple, ...]
    """Strides of each level after the first."""
    widths: tuple[int, ...]
    """Channels of each level."""
    kernels: tuple[Triple, ...] | None = None
    """Kernel sizes of each level; 3 along every axis by default."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Levels | None:
        """Return the levels in a network's `about`; None if they are derived from its crop."""
        known = about.get("levels")
        if not known:
            return None
        kernels = known.get("kernels")
        return cls(tuple(map(tuple, known["strides"])), tuple(known["widths"]), kernels and tuple(map(tuple, kernels)))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes that a network is built with."""

    name: str
    """A key of `train.networks.build.NETWORKS`."""
    channels: int
    """Input channels, those of a case."""
    crop: Triple
    """Crop (D, H, W) in voxels; D is 1 if dims is 2."""
    filters: int
    """Channels of the first level."""
    outputs: int
    """Output channels of the decoder."""
    levels: Levels | None = None
    """Explicit levels of a dynunet, in place of those derived from crop and filters."""
    dims: int = 3
    """2 for (B, C, H, W), 3 for (B, C, D, H, W)."""
    skips: bool | None = None
    """Whether the decoder gets the encoder's features of each level; None for a network without this choice."""

    @property
    def about(self) -> dict[str, Any]:
        """Arguments of `build_network` that rebuild the network, JSON-compatible."""
        about = {"network": self.name, "channels": self.channels, "crop": list(self.crop), "filters": self.filters}
        about |= {"outputs": self.outputs, "dims": self.dims}
        about |= {} if self.skips is None else {"skips": self.skips}
        return about | ({"levels": asdict(self.levels)} if self.levels else {})

    def check_multiple(self, step: int) -> None:
        """Check that the edges of the crop are multiples of `step`.

        Raises
        ------
        ValueError
            With valid edges.
        """
        for axis, edge in list(zip("DHW", self.crop, strict=True))[3 - self.dims :]:
            if edge % step:
                near = edge // step * step
                valid = f"{near} or {near + step}" if near else step
                raise ValueError(
                    f"crop: expected multiples of {step} for {self.name}, got {edge} along {axis}; use {valid}"
                )


@dataclass(frozen=True, kw_only=True)
class Network:
    """A module from (B, C, D, H, W) or (B, C, H, W) to an output of the same size, with the names of its tensors."""

    module: nn.Module
    """The module to train."""
    tensors: tuple[str, ...]
    """Every tensor of its ``state_dict()`` once, without the second names that some module trees give."""
    encoder: tuple[str, ...]
    """Names of the encoder's tensors, which are transferred to other tasks; listed, since a prefix could match more."""
    head: tuple[str, ...]
    """Names of the output layer's tensors, which are new in every task."""
    features: nn.Module
    """The encoder with shared parameters, from an image to the coarsest features; its ``state_dict()`` has the tensors
    of `encoder` under the same names."""
    width: int
    """Channels of the coarsest features."""
    strides: Triple
    """Voxels per feature along D, H and W; the edges of a crop are multiples of them."""
    least_cells: int = 1
    """Fewest features of a crop at the coarsest level; 2 for networks with instance norm, which needs a variance."""
    classifier: Callable[[int], nn.Module] | None = None
    """Creates the network's classification head for a number of classes, from features to (B, classes); None if it has
    none, so that `train.networks.heads.Classifier` is used."""
    dims: int = 3
    """2 for (B, C, H, W), 3 for (B, C, D, H, W)."""
    about: dict[str, Any] = field(default_factory=dict)
    """Arguments of `build_network` that rebuild the network, JSON-compatible."""

    def without_decoder(self, **about: Any) -> Network:
        """Return the encoder alone, for methods that train no decoder; `about` are further entries of its metadata.

        Its metadata still rebuild the whole network, and its weights are those of the encoder.
        """
        about = {**self.about, "trained": "encoder", **about}
        return replace(self, module=self.features, tensors=self.encoder, head=(), about=about)

    @property
    def outputs(self) -> int:
        """Output channels of the decoder."""
        return int(self.about["outputs"])

    @property
    def levels(self) -> Levels | None:
        """The explicit levels, None if they are derived from crop and filters."""
        return Levels.of(self.about)

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())
