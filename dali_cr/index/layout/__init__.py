"""How files become cases: layouts, patterns and CSV files. Reads names, no voxels."""
