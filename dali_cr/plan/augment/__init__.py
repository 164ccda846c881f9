"""Draw the augmentation of crops and compute their affine maps."""
