// add_noise: data += std * normal numbers, in place.
//
// A volume of V voxels, all channels in sequence, is divided into four quarters of Q = ceil(V / 4). The Philox block
// (sample low, sample high, i, purpose | view << 8) under the seed gives the i-th voxel of each quarter, by the
// Box-Muller transform: of two words, one is the radius, the other the angle within a quarter and two signs. A standard
// deviation of 0, or a subnormal one, leaves a volume unchanged.
//
//   data      (volumes, V) float, contiguous
//   stds      (volumes) float, standard deviations
//   counters  (volumes, 2) int64: sample number, view
//
// Grid: x over the voxels of a quarter, y over volumes. A thread writes one voxel of each quarter, in four coalesced
// streams.
// Memory traffic per voxel: 4 bytes read, 4 written.

__device__ __forceinline__ void add_pair(float* data, long long first, long long second, long long voxels, float std,
                                         unsigned int a, unsigned int b) {
  const float u = __fmul_rn(__uint2float_rn((a >> 8) + 1u), 5.9604644775390625e-8f);
  const float radius = __fsqrt_rn(__fmul_rn(log2_of(u), -1.3862944f));
  const float angle = __fmul_rn(__uint2float_rn(b >> 8), 5.9604644775390625e-8f);
  const float across = __fmul_rn(quarter_sine(__fsub_rn(1.0f, angle)), radius);
  const float along = __fmul_rn(quarter_sine(angle), radius);
  const float one = __uint_as_float(__float_as_uint(across) ^ (b << 31));
  const float other = __uint_as_float(__float_as_uint(along) ^ (b >> 1 << 31));
  if (first < voxels) data[first] = flush(__fadd_rn(data[first], __fmul_rn(one, std)));
  if (second < voxels) data[second] = flush(__fadd_rn(data[second], __fmul_rn(other, std)));
}

extern "C" __global__ void add_noise(float* data, const float* stds, const long long* counters, long long voxels,
                                     unsigned long long seed, int purpose) {
  const float std = stds[blockIdx.y];
  if (flush(std) == 0.0f) return;
  data += blockIdx.y * voxels;
  const unsigned long long sample = (unsigned long long)counters[2 * blockIdx.y];
  const unsigned int stream = (unsigned int)purpose | (unsigned int)counters[2 * blockIdx.y + 1] << 8;
  const long long quarter = (voxels + 3) / 4;
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < quarter; i += step) {
    const Words counter = {(unsigned int)sample, (unsigned int)(sample >> 32), (unsigned int)i, stream};
    const Words words = philox(counter, seed);
    add_pair(data, i, quarter + i, voxels, std, words.a, words.b);
    add_pair(data, 2 * quarter + i, 3 * quarter + i, voxels, std, words.c, words.d);
  }
}
