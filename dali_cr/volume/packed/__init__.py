"""One brick store (`.ozx`): an OME-Zarr file whose bricks are read one by one. Knows no folder, no sample."""
