"""The kernels' Python side: check, launch, return; beside each its NumPy reference with the same signature."""
