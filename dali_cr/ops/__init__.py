"""Operations on arrays: Python wrappers of the CUDA kernels, and their CPU references in compiled loops."""
