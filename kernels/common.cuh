// Shared functions; concatenated in front of the kernels, never #included.

// CuPy compiles with -ftz=true, which flushes float32 subnormals. The kernels also flush them explicitly, together with
// negative zeros, so that a host build gives the same bits.
__device__ __forceinline__ float flush(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }

// Convert float32 to the bits of float16, rounded to nearest even; the wheels of CuPy and NVRTC lack cuda_fp16.h.
__device__ __forceinline__ unsigned short half_bits(float x) {
  const unsigned int bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
  // A subnormal float16 is a multiple of 2**-24, the step of float32 above 0.5: the sum rounds to it.
  const unsigned int small = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), 0.5f)) - 0x3f000000u;
  const unsigned int normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  unsigned int half = magnitude < 0x38800000u ? small : normal;
  if (magnitude >= 0x477ff000u) half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return (unsigned short)(((bits >> 16) & 0x8000u) | half);
}
