"""Single ops and kernels, as they are measured."""
