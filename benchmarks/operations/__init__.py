"""Operations that `benchmarks.kernels` measures."""
