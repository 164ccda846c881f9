// CUDA's built-in vector types, with its alignments.
#pragma once

#define CUDA_VECTOR_TYPES(type, name, align2, align4)                         \
  struct alignas(align2) name##2 { type x, y; };                              \
  struct name##3 { type x, y, z; };                                           \
  struct alignas(align4) name##4 { type x, y, z, w; };                        \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_VECTOR_TYPES(unsigned char, uchar, 2, 4)
CUDA_VECTOR_TYPES(unsigned short, ushort, 4, 8)
CUDA_VECTOR_TYPES(int, int, 8, 16)
CUDA_VECTOR_TYPES(unsigned int, uint, 8, 16)
CUDA_VECTOR_TYPES(long long, longlong, 16, 16)
CUDA_VECTOR_TYPES(unsigned long long, ulonglong, 16, 16)
CUDA_VECTOR_TYPES(float, float, 8, 16)
CUDA_VECTOR_TYPES(double, double, 16, 16)
#undef CUDA_VECTOR_TYPES

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};
