// contrast_power: data = low + span * ((data - low) / span) ** exponent, in place, where low is the smallest value of
// an array and span the distance to its largest.
// contrast_ranges: find the smallest and largest value of each part of an array.
//
// Smallest and largest values do not depend on the order of reduction. Arrays with an exponent of exactly 1, or with a
// span of 0 or infinity, are unchanged.
//
//   data       (arrays, voxels) float, contiguous; no NaN
//   exponents  (arrays / channels) float, above 0
//   ranges     (arrays, parts, 2) float: smallest and largest value of each part of an array, from contrast_ranges
//
// Grid of contrast_ranges: x = parts, y over arrays; of contrast_power: x over the voxels of an array, y over arrays.
// Blocks of THREADS; neighbouring threads process neighbouring voxels.
// Memory traffic per voxel: 8 bytes read in two passes, 4 written.
// Define: THREADS (a power of 2, at least the number of parts).

// Return the smallest `low` and the largest `high` of a block to every thread.
__device__ __forceinline__ void reduce(float* lows, float* highs, float& low, float& high) {
  lows[threadIdx.x] = low;
  highs[threadIdx.x] = high;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      lows[threadIdx.x] = fminf(lows[threadIdx.x], lows[threadIdx.x + half]);
      highs[threadIdx.x] = fmaxf(highs[threadIdx.x], highs[threadIdx.x + half]);
    }
    __syncthreads();
  }
  low = lows[0];
  high = highs[0];
}

extern "C" __global__ void contrast_ranges(float* ranges, const float* data, const float* exponents, long long voxels,
                                           int channels) {
  __shared__ float lows[THREADS], highs[THREADS];
  if (exponents[blockIdx.y / channels] == 1.0f) return;
  data += blockIdx.y * voxels;
  float low = __int_as_float(0x7f800000), high = -low;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < voxels; i += (long long)gridDim.x * THREADS) {
    low = fminf(low, data[i]);
    high = fmaxf(high, data[i]);
  }
  reduce(lows, highs, low, high);
  if (threadIdx.x == 0) {
    ranges += 2 * (gridDim.x * blockIdx.y + blockIdx.x);
    ranges[0] = low;
    ranges[1] = high;
  }
}

extern "C" __global__ void contrast_power(float* data, const float* ranges, const float* exponents, long long voxels,
                                          int channels, int parts) {
  __shared__ float lows[THREADS], highs[THREADS];
  const float exponent = exponents[blockIdx.y / channels];
  if (exponent == 1.0f) return;
  ranges += 2 * (parts * blockIdx.y + threadIdx.x % parts);
  float low = ranges[0], high = ranges[1];
  reduce(lows, highs, low, high);
  const float span = flush(__fsub_rn(high, low));
  if (!(span > 0.0f && span <= 3.4028235e38f)) return;
  const float inverse = flush(__double2float_rn(__ddiv_rn(1.0, (double)span)));
  data += blockIdx.y * voxels;
  const long long step = (long long)gridDim.x * THREADS;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < voxels; i += step) {
    const float share = flush(__fmul_rn(flush(__fsub_rn(data[i], low)), inverse));
    const float power = share > 0.0f ? exp2_of(__fmul_rn(log2_of(share), exponent)) : 0.0f;
    data[i] = flush(__fadd_rn(flush(__fmul_rn(power, span)), low));
  }
}
