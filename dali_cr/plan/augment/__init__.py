"""Draw the augmentation of crops and views, and compute the affine maps of crops."""
