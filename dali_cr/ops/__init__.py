"""The kernels' Python side: check, launch, return; beside each its reference, compiled loops for the CPU."""
