"""The GPU side of the operations: checks of arrays, compilation and launch of kernels through CuPy."""
