// Elementary functions with the same bits on CPU and GPU: dali_cr/ops/cpu/elementary.py has the same polynomials.
//
// Every product and sum is rounded separately. Concatenated in front of the kernels that use these functions.

__device__ __forceinline__ float horner(float sum, float y, float coefficient) {
  return __fadd_rn(__fmul_rn(sum, y), coefficient);
}

// Base-2 logarithm of a positive normal number.
__device__ __forceinline__ float log2_of(float x) {
  const int bits = __float_as_int(x);
  const int exponent = (bits - 0x3f3504f3) >> 23;
  const float y = __fsub_rn(__int_as_float(bits - exponent * 0x800000), 1.0f);
  float sum = horner(-0.10749789f, y, 0.18476033f);
  sum = horner(sum, y, -0.19138838f);
  sum = horner(sum, y, 0.20485765f);
  sum = horner(sum, y, -0.23960812f);
  sum = horner(sum, y, 0.28855255f);
  sum = horner(sum, y, -0.36069655f);
  sum = horner(sum, y, 0.48089853f);
  sum = horner(sum, y, -0.72134733f);
  sum = horner(sum, y, 1.442695f);
  return __fadd_rn(__fmul_rn(sum, y), __int2float_rn(exponent));
}

// 2**x; 0 below -126, inf from 128.
__device__ __forceinline__ float exp2_of(float x) {
  x = fminf(fmaxf(x, -127.0f), 128.0f);
  const float whole = floorf(x);
  const float y = __fsub_rn(x, whole);
  float sum = horner(0.00020817915f, y, 0.0012692166f);
  sum = horner(sum, y, 0.0096521955f);
  sum = horner(sum, y, 0.055496022f);
  sum = horner(sum, y, 0.24022721f);
  sum = horner(sum, y, 0.6931472f);
  return __fmul_rn(horner(sum, y, 1.0f), __int_as_float(((int)whole + 127) << 23));
}

// sin(pi y / 2) for y in [0, 1].
__device__ __forceinline__ float quarter_sine(float y) {
  const float square = __fmul_rn(y, y);
  float sum = horner(0.0001516717f, square, -0.0046741436f);
  sum = horner(sum, square, 0.07968992f);
  sum = horner(sum, square, -0.6459638f);
  sum = horner(sum, square, 1.5707964f);
  return __fmul_rn(sum, y);
}

// e**x for x from -700 to 0.
__device__ __forceinline__ double exp_double(double x) {
  const double whole = floor(__dadd_rn(__dmul_rn(x, 1.4426950408889634), 0.5));
  const double high = __dsub_rn(x, __dmul_rn(whole, 0.693147180369123816490));
  const double rest = __dsub_rn(high, __dmul_rn(whole, 1.90821492927058770002e-10));
  double sum = 1.0;
  for (int term = 14; term > 0; --term) sum = __dadd_rn(__ddiv_rn(__dmul_rn(sum, rest), term), 1.0);
  return __dmul_rn(sum, __longlong_as_double(((long long)whole + 1023) << 52));
}
