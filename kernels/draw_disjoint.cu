// draw_disjoint: draw swaps with all boxes of a sample disjoint, each box in a cell of a lattice.
//
// Four Philox blocks per swap give the exchanges of a shuffle of the cells, the edges, and the positions in both cells.
//
//   out      (samples, groups, iterations, 3, 3) int32: origin a, origin b, size, each (d, h, w); before that, the
//            exchanges
//   numbers  (samples) int64, sample numbers; the bits are reinterpreted as unsigned
//
// Grid: x over samples * groups, one block each, one thread per swap, which reads all exchanges twice. Memory traffic
// per swap: 36 bytes written.
// There must be a cell for each box; checked by the host.

#define BLOCKS 4

extern "C" __global__ void __launch_bounds__(1024)
    draw_disjoint(int* out, const long long* numbers, unsigned long long seed, int purpose, int groups, int iterations,
                  int depth, int height, int width, int low_d, int high_d, int low_h, int high_h, int low_w,
                  int high_w) {
  int* swaps = out + 9LL * iterations * blockIdx.x;
  const unsigned long long number = (unsigned long long)numbers[blockIdx.x / groups];
  const unsigned int n_low = (unsigned int)number, n_high = (unsigned int)(number >> 32),
                     stream = (unsigned int)purpose;
  const unsigned int first = BLOCKS * iterations * (blockIdx.x % groups);
  const long long length[3] = {depth, height, width};
  const int low[3] = {low_d, low_h, low_w}, high[3] = {high_d, high_h, high_w};
  const int cells[3] = {depth / high_d, height / high_h, width / high_w};
  const int all = cells[0] * cells[1] * cells[2];
  for (int turn = threadIdx.x; turn < iterations; turn += blockDim.x) {
    const Words words = philox({n_low, n_high, first + BLOCKS * turn, stream}, seed);
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
    const unsigned int block = first + BLOCKS * turn;
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
