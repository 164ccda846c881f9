"""Read and write brick stores (`.ozx`): OME-Zarr files whose bricks are read one by one."""
