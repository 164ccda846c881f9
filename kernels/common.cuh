// Shared by the kernels; concatenated in front of them, never #included.

// float32 arithmetic on a GPU runs with subnormals flushed (CuPy compiles with -ftz=true). The kernels flush them
// themselves, and a negative zero with them, so that a host build gives the same bits.
__device__ __forceinline__ float flush(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }

// float32 to the bits of float16, to nearest even: cuda_fp16.h is in neither CuPy's nor NVRTC's wheel.
__device__ __forceinline__ unsigned short half_bits(float x) {
  const unsigned int bits = __float_as_uint(x);
  const unsigned int sign = (bits >> 16) & 0x8000u;
  const unsigned int magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
  unsigned int significand = magnitude - 0x38000000u;
  unsigned int shift = 13u;
  if (magnitude < 0x38800000u) {
    if (magnitude < 0x33000000u) return (unsigned short)sign;
    significand = (magnitude & 0x7fffffu) | 0x800000u;
    shift = 126u - (magnitude >> 23);
  }
  unsigned int half = significand >> shift;
  const unsigned int rest = significand & ((1u << shift) - 1u);
  const unsigned int middle = 1u << (shift - 1u);
  if (rest > middle || (rest == middle && (half & 1u))) half += 1u;
  return (unsigned short)(sign | half);
}
