"""Measure the voxels of a volume: statistics, percentiles, and a hash of the content."""
