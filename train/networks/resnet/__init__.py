"""ResNet-18 U-Net of PCRLv2 in 2-D, and initial weights of its encoder."""
