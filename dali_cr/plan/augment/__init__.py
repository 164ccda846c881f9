"""What is drawn to augment crops, and the affine maps that it makes."""
