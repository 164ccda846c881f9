"""MONAI's `ResNet` as the encoder of a U-Net."""

from __future__ import annotations

import torch
from monai.networks.nets.resnet import ResNet


class ResNetEncoder(ResNet):
    """A `ResNet` that returns the features of each stage instead of class scores."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override] # features, not scores
        """Return the features at strides 2, 4, 8, 16 and 32."""
        passed = [self.act(self.bn1(self.conv1(image)))]
        features = self.maxpool(passed[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            passed.append(features)
        return passed
