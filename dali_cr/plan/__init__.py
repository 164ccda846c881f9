"""(seed, n) -> what sample n is made of: pure numbers. Knows no voxel."""
