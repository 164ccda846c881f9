"""What the voxels of a volume hold: statistics, percentiles, a hash of the content."""
