// draw_blocks: draw the masked blocks of samples, without replacement from a grid.
//
// One word per masked block gives the exchanges of a shuffle of the grid.
//
//   out      (samples, count, 3, 3) int32: origin, zeros, size, each (d, h, w); before that, the exchanges
//   numbers  (samples) int64, sample numbers; the bits are reinterpreted as unsigned
//
// Grid: x over samples, one block each, one thread per masked block. Memory traffic per masked block: 36 bytes written.
// There must be a block of the grid for each masked one; checked by the host.

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
