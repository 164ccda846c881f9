// Decode raw bytes of any dtype and byte order; concatenated in front of the kernels that read files, after record.cuh.

__device__ __forceinline__ unsigned char swap_bytes(unsigned char v) { return v; }
__device__ __forceinline__ unsigned short swap_bytes(unsigned short v) { return (unsigned short)((v >> 8) | (v << 8)); }
__device__ __forceinline__ unsigned int swap_bytes(unsigned int v) {
  return (v >> 24) | ((v >> 8) & 0xff00u) | ((v << 8) & 0xff0000u) | (v << 24);
}
__device__ __forceinline__ unsigned long long swap_bytes(unsigned long long v) {
  return ((unsigned long long)swap_bytes((unsigned int)v) << 32) | swap_bytes((unsigned int)(v >> 32));
}

// Each dtype: the unsigned type of equal width, and the conversion of its bits to double. `finite` is false for NaN and
// Inf.
struct Uint8 {
  typedef unsigned char Bits;
  static __device__ double value(Bits b, bool&) { return (double)b; }
};
struct Int8 {
  typedef unsigned char Bits;
  static __device__ double value(Bits b, bool&) { return (double)(signed char)b; }
};
struct Uint16 {
  typedef unsigned short Bits;
  static __device__ double value(Bits b, bool&) { return (double)b; }
};
struct Int16 {
  typedef unsigned short Bits;
  static __device__ double value(Bits b, bool&) { return (double)(short)b; }
};
struct Uint32 {
  typedef unsigned int Bits;
  static __device__ double value(Bits b, bool&) { return (double)b; }
};
struct Int32 {
  typedef unsigned int Bits;
  static __device__ double value(Bits b, bool&) { return (double)(int)b; }
};
struct Uint64 {
  typedef unsigned long long Bits;
  static __device__ double value(Bits b, bool&) { return (double)b; }
};
struct Int64 {
  typedef unsigned long long Bits;
  static __device__ double value(Bits b, bool&) { return (double)(long long)b; }
};
struct Float32 {
  typedef unsigned int Bits;
  static __device__ double value(Bits b, bool& finite) {
    finite = (b & 0x7f800000u) != 0x7f800000u;
    return (b & 0x7f800000u) ? (double)__uint_as_float(b) : 0.0;
  }
};
struct Float64 {
  typedef unsigned long long Bits;
  static __device__ double value(Bits b, bool& finite) {
    finite = (b & 0x7ff0000000000000ULL) != 0x7ff0000000000000ULL;
    return __longlong_as_double((long long)b);
  }
};

// Decode the bits of a voxel, in the byte order of the machine.
template <typename T>
__device__ __forceinline__ float decode_bits(const Record& r, typename T::Bits bits) {
  bool finite = true;
  const double value = T::value(bits, finite);
  if (!finite && !r.keep) return r.padding;
  const float x = flush(__double2float_rn(__dadd_rn(__dmul_rn(value, r.scale), r.shift)));
  return x < r.low ? r.low : x > r.high ? r.high : x;
}

template <typename T>
__device__ __forceinline__ float decode_voxel(const Record& r, const unsigned char* raw, long long element) {
  const typename T::Bits bits = ((const typename T::Bits*)raw)[element];
  return decode_bits<T>(r, r.big_endian ? swap_bytes(bits) : bits);
}

// Call a function template for the dtype of a record; the codes are indices in dali_cr.volume.geometry.DTYPES.
#define WITH_DTYPE(code, function, ...) \
  switch (code) {                       \
    case 0:                             \
      function<Uint8>(__VA_ARGS__);     \
      break;                            \
    case 1:                             \
      function<Int8>(__VA_ARGS__);      \
      break;                            \
    case 2:                             \
      function<Uint16>(__VA_ARGS__);    \
      break;                            \
    case 3:                             \
      function<Int16>(__VA_ARGS__);     \
      break;                            \
    case 4:                             \
      function<Uint32>(__VA_ARGS__);    \
      break;                            \
    case 5:                             \
      function<Int32>(__VA_ARGS__);     \
      break;                            \
    case 6:                             \
      function<Uint64>(__VA_ARGS__);    \
      break;                            \
    case 7:                             \
      function<Int64>(__VA_ARGS__);     \
      break;                            \
    case 8:                             \
      function<Float32>(__VA_ARGS__);   \
      break;                            \
    case 9:                             \
      function<Float64>(__VA_ARGS__);   \
      break;                            \
    default:                            \
      __trap();                         \
  }
