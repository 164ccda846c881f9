// The part of CUDA C++ that our kernels use, for a host compiler.
//
// Included in front of a kernel's text. A name that is missing here is a compile error, never a wrong result: add it
// with the meaning that the CUDA programming guide gives it. Rounding is to nearest even throughout, and the build
// forbids fused multiply-adds; float32 intrinsics flush subnormal operands and results to zero, as `-ftz=true` does on
// a GPU (CuPy always compiles with it). float32 arithmetic written with operators is NOT flushed here: kernels that
// meet subnormals use the intrinsics.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "threads.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
// A section of its own lets the launcher fill all shared memory with a sentinel before each block.
#define __shared__ static __attribute__((section("cuda_shared")))
#define __syncthreads() cuda_on_cpu::barrier(__FILE__, __LINE__)
#define __trap() cuda_on_cpu::fault(__FILE__, __LINE__, "__trap()")

#define threadIdx cuda_on_cpu::thread_index
#define blockIdx cuda_on_cpu::block_index
#define blockDim cuda_on_cpu::block_shape
#define gridDim cuda_on_cpu::grid_shape

namespace cuda_on_cpu {

template <typename To, typename From>
inline To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the width");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

inline float flush(float value) { return fpclassify(value) == FP_SUBNORMAL ? copysignf(0.0f, value) : value; }

template <typename T>
struct same {
  using type = T;
};

}  // namespace cuda_on_cpu

inline float __fadd_rn(float a, float b) { return cuda_on_cpu::flush(cuda_on_cpu::flush(a) + cuda_on_cpu::flush(b)); }
inline float __fsub_rn(float a, float b) { return cuda_on_cpu::flush(cuda_on_cpu::flush(a) - cuda_on_cpu::flush(b)); }
inline float __fmul_rn(float a, float b) { return cuda_on_cpu::flush(cuda_on_cpu::flush(a) * cuda_on_cpu::flush(b)); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

inline double __dsqrt_rn(double value) { return sqrt(value); }
inline float __fsqrt_rn(float value) { return sqrtf(cuda_on_cpu::flush(value)); }

inline float __double2float_rn(double value) { return cuda_on_cpu::flush(static_cast<float>(value)); }
inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline float __uint2float_rn(unsigned int value) { return static_cast<float>(value); }
inline float __ll2float_rn(long long value) { return static_cast<float>(value); }
inline float __ull2float_rn(unsigned long long value) { return static_cast<float>(value); }
inline double __int2double_rn(int value) { return value; }
inline double __uint2double_rn(unsigned int value) { return value; }
inline double __ll2double_rn(long long value) { return static_cast<double>(value); }
inline double __ull2double_rn(unsigned long long value) { return static_cast<double>(value); }

inline unsigned int __float_as_uint(float value) { return cuda_on_cpu::bits_as<unsigned int>(value); }
inline int __float_as_int(float value) { return cuda_on_cpu::bits_as<int>(value); }
inline float __uint_as_float(unsigned int value) { return cuda_on_cpu::bits_as<float>(value); }
inline float __int_as_float(int value) { return cuda_on_cpu::bits_as<float>(value); }
inline long long __double_as_longlong(double value) { return cuda_on_cpu::bits_as<long long>(value); }
inline double __longlong_as_double(long long value) { return cuda_on_cpu::bits_as<double>(value); }

inline unsigned int __umulhi(unsigned int a, unsigned int b) { return static_cast<uint64_t>(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned __int128>(a) * b >> 64;
}
inline int __popc(unsigned int value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __clz(int value) { return value ? __builtin_clz(value) : 32; }
inline int __clzll(long long value) { return value ? __builtin_clzll(value) : 64; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline unsigned int __byte_perm(unsigned int low, unsigned int high, unsigned int selector) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  unsigned int result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned int choice = selector >> (4 * i);
    const unsigned int byte = bytes >> (8 * (choice & 7)) & 0xff;
    // Bit 3 of a selector nibble asks for the byte's sign, spread over eight bits.
    result |= ((choice & 8) ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
  }
  return result;
}

template <typename T>
inline T __ldg(const T* address) {
  return *address;
}

// CUDA's min and max of floating-point numbers are fmin and fmax: a NaN loses against a number.
template <typename A, typename B>
inline std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_same_v<T, float>) return cuda_on_cpu::flush(fminf(a, b));
  if constexpr (std::is_floating_point_v<T>) return fmin(a, b);
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(a) : static_cast<T>(b);
}
template <typename A, typename B>
inline std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_same_v<T, float>) return cuda_on_cpu::flush(fmaxf(a, b));
  if constexpr (std::is_floating_point_v<T>) return fmax(a, b);
  return static_cast<T>(a) > static_cast<T>(b) ? static_cast<T>(a) : static_cast<T>(b);
}
#define fminf(a, b) (min)(static_cast<float>(a), static_cast<float>(b))
#define fmaxf(a, b) (max)(static_cast<float>(a), static_cast<float>(b))

// One emulated thread runs at a time, so a plain read and write is atomic.
#define CUDA_ATOMIC(name, expression)                                    \
  template <typename T>                                                  \
  inline T name(T* address, typename cuda_on_cpu::same<T>::type value) { \
    const T old = *address;                                              \
    *address = (expression);                                             \
    return old;                                                          \
  }
CUDA_ATOMIC(atomicAdd, old + value)
CUDA_ATOMIC(atomicSub, old - value)
CUDA_ATOMIC(atomicMin, value < old ? value : old)
CUDA_ATOMIC(atomicMax, old < value ? value : old)
CUDA_ATOMIC(atomicAnd, old& value)
CUDA_ATOMIC(atomicOr, old | value)
CUDA_ATOMIC(atomicXor, old ^ value)
CUDA_ATOMIC(atomicExch, value)
#undef CUDA_ATOMIC
template <typename T>
inline T atomicCAS(T* address, typename cuda_on_cpu::same<T>::type expected,
                   typename cuda_on_cpu::same<T>::type value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
