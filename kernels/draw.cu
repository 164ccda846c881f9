// draw_swaps: draw the swaps of samples, uniformly over all pairs of disjoint boxes.
// draw_disjoint: draw swaps with all boxes of a sample disjoint, each box in a cell of a lattice.
// draw_blocks: draw the masked blocks of samples, without replacement from a grid.
//
// draw_swaps: a swap is a pure function of (seed, sample number, t). Three Philox blocks give the words for the first
// axis that separates the boxes, for the ranks of the pairs of origins, and for the edges. Integers and float64
// products and sums, each rounded separately, are those of the CPU reference (dali_cr/ops/draw.py), which explains the
// method.
//
//   out      (samples, iterations, 3, 3) int32: origin a, origin b, size, each (d, h, w)
//   numbers  (samples) int64, sample numbers; the bits are reinterpreted as unsigned
//
// Grid: x over the swaps of all samples, one thread per swap. Bound by latency: 30 rounds of Philox and 7 divisions of
// 64 bits per swap. Memory traffic per swap: 36 bytes written.
// Two disjoint boxes of every size must fit; checked by the host.
//
// draw_disjoint: four Philox blocks per swap give the exchanges of a Fisher-Yates shuffle of the cells, the edges, and
// the positions in both cells. `out` is (samples, groups, iterations, 3, 3) and stores the exchanges temporarily. Grid:
// x over samples * groups, one block each, one thread per swap, which reads all exchanges twice. Memory traffic per
// swap: 36 bytes written. There must be a cell for each box; checked by the host.

//
// draw_blocks: one word per masked block gives the exchanges. `out` is (samples, count, 3, 3): origin, zeros, size.
// Grid: x over samples, one block each, one thread per masked block. Memory traffic per masked block: 36 bytes written.

#define BLOCKS 3
#define CELL_BLOCKS 4

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

__device__ __forceinline__ long long below(unsigned long long word, long long bound) {
  return (long long)(word % (unsigned long long)bound);
}

__device__ __forceinline__ unsigned long long join(unsigned int low, unsigned int high) {
  return (unsigned long long)high << 32 | low;
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

// Return the words of a Philox block as two of 32 bits and one of 64 bits, for D, H and W.
__device__ __forceinline__ unsigned long long in_three(const Words& words, int axis) {
  return axis == 0 ? words.b : axis == 1 ? words.a : join(words.c, words.d);
}

// Return where the exchange of a step is stored: PER exchanges in the 9 words of a box or a pair of boxes.
template <int PER>
__device__ __forceinline__ int* slot(int* boxes, int turn) {
  return boxes + 9LL * (turn / PER) + 3 * (turn % PER);
}

// Return the element that step `turn` of a Fisher-Yates shuffle with `turns` steps puts at its position, by tracing it
// back through the earlier exchanges. All threads read the exchanges in the same order.
template <int PER>
__device__ __forceinline__ int shuffled(int* boxes, int turn, int turns) {
  int place = *slot<PER>(boxes, turn);
  for (int before = turns - 2; before >= 0; --before)
    if (before < turn && *slot<PER>(boxes, before) == place) place = before;
  return place;
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

extern "C" __global__ void __launch_bounds__(1024)
    draw_disjoint(int* out, const long long* numbers, unsigned long long seed, int purpose, int groups, int iterations,
                  int depth, int height, int width, int low_d, int high_d, int low_h, int high_h, int low_w,
                  int high_w) {
  int* swaps = out + 9LL * iterations * blockIdx.x;
  const unsigned long long number = (unsigned long long)numbers[blockIdx.x / groups];
  const unsigned int n_low = (unsigned int)number, n_high = (unsigned int)(number >> 32),
                     stream = (unsigned int)purpose;
  const unsigned int first = CELL_BLOCKS * iterations * (blockIdx.x % groups);
  const long long length[3] = {depth, height, width};
  const int low[3] = {low_d, low_h, low_w}, high[3] = {high_d, high_h, high_w};
  const int cells[3] = {depth / high_d, height / high_h, width / high_w};
  const int all = cells[0] * cells[1] * cells[2];
  for (int turn = threadIdx.x; turn < iterations; turn += blockDim.x) {
    const Words words = philox({n_low, n_high, first + CELL_BLOCKS * turn, stream}, seed);
    *slot<2>(swaps, 2 * turn) = 2 * turn + (int)below(join(words.a, words.b), all - 2 * turn);
    *slot<2>(swaps, 2 * turn + 1) = 2 * turn + 1 + (int)below(join(words.c, words.d), all - 2 * turn - 1);
  }
  __syncthreads();
  // Write to the words after the exchanges, because other threads still read the exchanges.
  for (int turn = threadIdx.x; turn < iterations; turn += blockDim.x)
    for (int box = 0; box < 2; ++box)
      slot<2>(swaps, 2 * turn + box)[1] = shuffled<2>(swaps, 2 * turn + box, 2 * iterations);
  __syncthreads();
  for (int turn = threadIdx.x; turn < iterations; turn += blockDim.x) {
    int* swap = swaps + 9LL * turn;
    const unsigned int block = first + CELL_BLOCKS * turn;
    const Words edges = philox({n_low, n_high, block + 1, stream}, seed);
    int size[3];
#pragma unroll
    for (int axis = 0; axis < 3; ++axis)
      swap[6 + axis] = size[axis] = low[axis] + (int)below(in_three(edges, axis), high[axis] - low[axis] + 1);
    for (int box = 0; box < 2; ++box) {
      const Words words = philox({n_low, n_high, block + 2 + box, stream}, seed);
      const int cell = swap[3 * box + 1];
      const int place[3] = {cell / (cells[1] * cells[2]), cell / cells[2] % cells[1], cell % cells[2]};
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        const int start = (int)(place[axis] * length[axis] / cells[axis]);
        const int stop = (int)((place[axis] + 1) * length[axis] / cells[axis]);
        swap[3 * box + axis] = start + (int)below(in_three(words, axis), stop - start - size[axis] + 1);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(1024)
    draw_blocks(int* out, const long long* numbers, unsigned long long seed, int purpose, int count, int depth,
                int height, int width, int block_d, int block_h, int block_w) {
  int* boxes = out + 9LL * count * blockIdx.x;
  const unsigned long long number = (unsigned long long)numbers[blockIdx.x];
  const unsigned int n_low = (unsigned int)number, n_high = (unsigned int)(number >> 32),
                     stream = (unsigned int)purpose;
  const int length[3] = {depth, height, width}, block[3] = {block_d, block_h, block_w};
  const int rows = (height - 1) / block_h + 1, columns = (width - 1) / block_w + 1;
  const int all = ((depth - 1) / block_d + 1) * rows * columns;
  for (int turn = threadIdx.x; turn < count; turn += blockDim.x) {
    const Words words = philox({n_low, n_high, (unsigned int)turn / 2, stream}, seed);
    const unsigned long long word = turn % 2 ? join(words.c, words.d) : join(words.a, words.b);
    *slot<1>(boxes, turn) = turn + (int)below(word, all - turn);
  }
  __syncthreads();
  for (int turn = threadIdx.x; turn < count; turn += blockDim.x)
    slot<1>(boxes, turn)[1] = shuffled<1>(boxes, turn, count);
  __syncthreads();
  for (int turn = threadIdx.x; turn < count; turn += blockDim.x) {
    int* box = boxes + 9LL * turn;
    const int cell = box[1];
    const int place[3] = {cell / (rows * columns), cell / columns % rows, cell % columns};
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      box[axis] = place[axis] * block[axis];
      box[3 + axis] = 0;
      box[6 + axis] = min(block[axis], length[axis] - place[axis] * block[axis]);
    }
  }
}
