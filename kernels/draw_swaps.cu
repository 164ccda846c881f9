// draw_swaps: draw the swaps of samples, uniformly over all pairs of disjoint boxes.
//
// A swap is a pure function of (seed, sample number, t). Three Philox blocks give the words for the first axis that
// separates the boxes, for the ranks of the pairs of origins, and for the edges. Integers and float64 products and
// sums, each rounded separately, are those of the CPU reference (dali_cr/ops/draw/swaps.py); dali_cr/ops/draw/pairs.py
// explains the method.
//
//   out      (samples, iterations, 3, 3) int32: origin a, origin b, size, each (d, h, w)
//   numbers  (samples) int64, sample numbers; the bits are reinterpreted as unsigned
//
// Grid: x over the swaps of all samples, one thread per swap. Bound by latency: 30 rounds of Philox and 7 divisions of
// 64 bits per swap. Memory traffic per swap: 36 bytes written.
// Two disjoint boxes of every size must fit; checked by the host.

#define BLOCKS 3

struct Pair {
  int a, b;
};

// Numbers of pairs of origins in [0, m): at least p apart, closer than p, and all.
struct Counts {
  long long apart, close, all;
};

__device__ __forceinline__ Counts count_pairs(long long m, long long p) {
  const long long k = m > p ? m - p : 0;
  return {k * (k + 1), m * m - k * (k + 1), m * m};
}

// Choose the first axis along which the boxes are apart, in proportion to the number of pairs.
__device__ __forceinline__ int first_separated(unsigned long long word, const Counts* counts) {
  const double free1 = __ll2double_rn(counts[1].all), free2 = __ll2double_rn(counts[2].all);
  const double apart0 = __ll2double_rn(counts[0].apart), close0 = __ll2double_rn(counts[0].close);
  const double apart1 = __ll2double_rn(counts[1].apart), close1 = __ll2double_rn(counts[1].close);
  const double apart2 = __ll2double_rn(counts[2].apart);
  const double first = __dmul_rn(__dmul_rn(apart0, free1), free2);
  const double second = __dadd_rn(first, __dmul_rn(__dmul_rn(close0, apart1), free2));
  const double total = __dadd_rn(second, __dmul_rn(__dmul_rn(close0, close1), apart2));
  const double unit = __dmul_rn(__ull2double_rn(word >> 11), 1.1102230246251565e-16);
  // The product may round up to the total, which would choose an axis without pairs.
  const double last = total > 0.0 ? __longlong_as_double(__double_as_longlong(total) - 1) : 0.0;
  const double point = fmin(__dmul_rn(unit, total), last);
  return (point >= first) + (point >= second);
}

// Return the rank-th pair that is at least p apart.
__device__ __forceinline__ Pair pair_apart(long long rank, long long m, long long p) {
  const long long k1 = (m > p ? m - p : 0) + 1;
  const long long i = rank / k1, j = rank % k1;
  return j > i ? Pair{(int)i, (int)(j - 1 + p)} : Pair{(int)(i + p), (int)j};
}

// Return the rank-th pair that is closer than p.
__device__ __forceinline__ Pair pair_close(long long rank, long long m, long long p) {
  if (rank < m) return {(int)rank, (int)rank};
  const long long q = min(p, m), width = max(2 * m - q, 1LL);
  const long long d = 1 + (rank - m) / width, s = (rank - m) % width;
  return s < m - d ? Pair{(int)s, (int)(s + d)} : Pair{(int)(s - (m - d) + q - d), (int)(s - (m - d))};
}

// Draw the origins along an axis with m positions; `later` is the first separated axis minus this axis.
__device__ __forceinline__ Pair draw_axis(unsigned long long word, const Counts& counts, long long m, long long p,
                                          int later) {
  const long long rank = below(word, later == 0 ? counts.apart : later > 0 ? counts.close : counts.all);
  if (later == 0) return pair_apart(rank, m, p);
  if (later > 0) return pair_close(rank, m, p);
  return {(int)(rank / m), (int)(rank % m)};
}

extern "C" __global__ void draw_swaps(int* out, const long long* numbers, unsigned long long seed, int purpose,
                                      int samples, int iterations, int depth, int height, int width, int low_d,
                                      int high_d, int low_h, int high_h, int low_w, int high_w) {
  const long long swap = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (swap >= (long long)samples * iterations) return;
  const unsigned long long number = (unsigned long long)numbers[swap / iterations];
  const unsigned int block = BLOCKS * (unsigned int)(swap % iterations), stream = (unsigned int)purpose;
  const unsigned int n_low = (unsigned int)number, n_high = (unsigned int)(number >> 32);
  const Words one = philox({n_low, n_high, block, stream}, seed);
  const Words two = philox({n_low, n_high, block + 1, stream}, seed);
  const Words three = philox({n_low, n_high, block + 2, stream}, seed);
  const unsigned long long ranks[3] = {join(one.c, one.d), join(two.a, two.b), join(two.c, two.d)};
  const int length[3] = {depth, height, width}, low[3] = {low_d, low_h, low_w}, high[3] = {high_d, high_h, high_w};
  int size[3];
  Counts counts[3];
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    size[axis] = low[axis] + (int)below(in_three(three, axis), high[axis] - low[axis] + 1);
    counts[axis] = count_pairs(length[axis] - size[axis] + 1, size[axis]);
  }
  const int separated = first_separated(join(one.a, one.b), counts);
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    const Pair pair = draw_axis(ranks[axis], counts[axis], length[axis] - size[axis] + 1, size[axis], separated - axis);
    out[9 * swap + axis] = pair.a;
    out[9 * swap + 3 + axis] = pair.b;
    out[9 * swap + 6 + axis] = size[axis];
  }
}
