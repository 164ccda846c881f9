"""Voxels of boxes and volumes, through the caches, with their normalisation. Knows no sample."""
