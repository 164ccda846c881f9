// Words and numbers for drawing boxes; concatenated in front of the kernels that draw them, after philox.cuh.

// Return a word as an integer from 0 to bound - 1.
__device__ __forceinline__ long long below(unsigned long long word, long long bound) {
  return (long long)(word % (unsigned long long)bound);
}

// Return two words of 32 bits as one of 64 bits.
__device__ __forceinline__ unsigned long long join(unsigned int low, unsigned int high) {
  return (unsigned long long)high << 32 | low;
}

// Return the words of a Philox block as two of 32 bits and one of 64 bits, for D, H and W.
__device__ __forceinline__ unsigned long long in_three(const Words& words, int axis) {
  return axis == 0 ? words.b : axis == 1 ? words.a : join(words.c, words.d);
}
