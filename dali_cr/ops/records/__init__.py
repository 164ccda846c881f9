"""Records: layout, scaling and position of the raw voxels that `decode` and `gather` read."""
