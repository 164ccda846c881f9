"""Read the header, geometry and voxels of one file: NIfTI, images and brick stores; independent of index and recipe."""
