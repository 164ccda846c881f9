"""Map file names to cases and channels: layouts, patterns and CSV files; no voxel is read."""
