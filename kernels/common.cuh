// Shared by the kernels; concatenated in front of them, never #included.

// float32 arithmetic on a GPU runs with subnormals flushed (CuPy compiles with -ftz=true). The kernels flush them
// themselves, and a negative zero with them, so that a host build gives the same bits.
__device__ __forceinline__ float flush(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }

// float32 to the bits of float16, to nearest even: cuda_fp16.h is in neither CuPy's nor NVRTC's wheel.
__device__ __forceinline__ unsigned short half_bits(float x) {
  const unsigned int bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
  // A subnormal float16 is a multiple of 2**-24, the step of float32 above 0.5: the sum rounds to it.
  const unsigned int small = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), 0.5f)) - 0x3f000000u;
  const unsigned int normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  unsigned int half = magnitude < 0x38800000u ? small : normal;
  if (magnitude >= 0x477ff000u) half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return (unsigned short)(((bits >> 16) & 0x8000u) | half);
}
