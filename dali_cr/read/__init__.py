"""Read voxels of boxes and volumes, through the caches, and compute their normalisation."""
