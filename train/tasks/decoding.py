"""Label values and probabilities on a case's grid, from the output of a segmentation network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data.labels import Labels

Box = tuple[slice, ...]


@dataclass(frozen=True)
class MaskDecoder:
    """Decodes outputs (K, d, h, w): exclusive classes after the background, or overlapping regions.

    Attributes
    ----------
    values : tuple of int
        The value of each class in masks; the last of overlapping regions prevails.
    regions : bool
        Whether the outputs are independent sigmoids.

    Examples
    --------
    >>> output = torch.tensor([0.0, 2.0, 1.0]).reshape(3, 1, 1, 1)
    >>> MaskDecoder((5, 7), regions=False).decode(output).tolist()
    [[[5]]]
    """

    values: tuple[int, ...]
    regions: bool

    def decode(self, output: torch.Tensor) -> Labels:
        """Return label values (D, H, W) from the network's output (K, D, H, W)."""
        if not self.regions:
            values = np.array([0, *self.values], np.uint8)
            return np.asarray(values[output.argmax(0).cpu().numpy()])
        labels = np.zeros(output.shape[1:], np.uint8)
        for value, region in zip(self.values, (output > 0).cpu().numpy(), strict=True):
            labels[region] = value
        return labels

    def decode_whole(self, output: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]) -> Labels:
        """Return label values on a case's grid; parameters as for `decode_on`."""
        if seen != own:
            return self.decode_on(output, box, seen, own)
        labels = np.zeros(own, np.uint8)
        labels[box] = self.decode(output)
        return labels

    def probabilities(
        self, output: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]
    ) -> Iterator[torch.Tensor]:
        """Yield the probability of each output channel on a case's grid (D, H, W); parameters as for `decode_on`."""
        for place, share in enumerate(output.sigmoid() if self.regions else output.softmax(0)):
            background = place == 0 and not self.regions
            whole = torch.full(seen, float(background), device=output.device)
            whole[box] = share
            if seen != own:
                whole = F.interpolate(whole[None, None], own, mode="trilinear", align_corners=False)[0, 0]
            yield whole

    def decode_on(self, output: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]) -> Labels:
        """Return label values on a case's grid, from the network's output on the resampled volume.

        Probabilities are interpolated trilinearly, one class at a time to save memory.

        Parameters
        ----------
        output : (K, d, h, w) float32
        box : (3,) slice
            The output's box in the resampled volume; everything outside of it is background.
        seen, own : (D, H, W) int
            Shapes of the resampled volume and of the case.
        """
        most = torch.full(own, 0.5 if self.regions else -1.0, device=output.device)
        labels = torch.zeros(own, dtype=torch.uint8, device=output.device)
        values = self.values if self.regions else (0, *self.values)
        for value, here in zip(values, self.probabilities(output, box, seen, own), strict=True):
            labels[here > most] = value
            if not self.regions:
                most = torch.maximum(most, here)
        return labels.cpu().numpy()
