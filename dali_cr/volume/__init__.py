"""One file: its header, its bytes (NIfTI, images) and where its voxels lie. Knows no folder, no sample."""
