"""Plans: the case, crop, flips, swaps and views of sample n as pure functions of (seed, n); no voxel is read."""
