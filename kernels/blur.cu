// blur_axis: Gaussian blur along one axis; three launches blur a volume.
//
//   out[i] = w[0] in[i] + w[r] (in[i - r] + in[i + r]) + ... + w[1] (in[i - 1] + in[i + 1])      in this order
//
// Truncated at r = int(4 sigma + 0.5), with reflected borders (d c b a | a b c d | d c b a), in float32, each product
// and sum rounded. Weights are multiples of 2**-30 and voxels below 2**-70 are 0, so no subnormals occur. If r is 0,
// voxels are copied.
//
//   out, in  (volumes, before, length, after) float, contiguous; `length` is the blurred axis
//   sigmas   (volumes, 3) float; column `axis` is used
//
// Grid: x over the voxels of a volume (all channels), y over volumes; neighbouring threads process neighbouring voxels,
// so the 2 r + 1 reads per voxel share cache lines. A thread reads AT_ONCE pairs before it adds the first one. Each
// block computes the weights again, so the number of blocks is limited.
// Memory traffic per voxel and axis: 4 bytes read, 4 written.
// A sigma with r above max_radius, or a NaN, traps the kernel.
// Defines: INDEX (int, or long long from 2**30 voxels), MOST_RADIUS (upper bound of max_radius).

#define AT_ONCE 4

__device__ __forceinline__ float at_least(float x) { return fabsf(x) < 8.470329472543003e-22f ? 0.0f : x; }

// Reflect an index outside of a line; NEAR: it is less than one length outside, which needs no modulo.
template <bool NEAR>
__device__ __forceinline__ INDEX reflect(INDEX place, INDEX length) {
  if (!NEAR) place %= 2 * length;
  if (!NEAR && place < 0) place += 2 * length;
  return place < 0 ? -1 - place : place < length ? place : 2 * length - 1 - place;
}

// Compute the weights from the middle outwards, by all threads of the block.
__device__ __forceinline__ void make_weights(float* weights, double sigma, int radius) {
  __shared__ double terms[MOST_RADIUS + 1];
  const double scale = __ddiv_rn(-0.5, __dmul_rn(sigma, sigma));
  for (int step = threadIdx.x; step <= radius; step += blockDim.x)
    terms[step] = exp_double(__dmul_rn(scale, (double)step * step));
  __syncthreads();
  double total = 0.0;
  for (int step = radius; step > 0; --step) total = __dadd_rn(total, terms[step]);
  total = __dadd_rn(__dadd_rn(total, total), terms[0]);
  for (int step = threadIdx.x; step <= radius; step += blockDim.x) {
    const double units = floor(__dadd_rn(__dmul_rn(__ddiv_rn(terms[step], total), 1073741824.0), 0.5));
    weights[step] = __double2float_rn(__dmul_rn(units, 9.31322574615478515625e-10));
  }
  __syncthreads();
}

// Return the weighted sum around an index of a line with stride `after`.
template <bool NEAR>
__device__ __forceinline__ float sum_around(const float* line, INDEX place, INDEX length, INDEX after,
                                            const float* weights, int radius) {
  float sum = __fmul_rn(at_least(line[place * after]), weights[0]);
  for (int far = radius; far > 0; far -= AT_ONCE) {
    float left[AT_ONCE], right[AT_ONCE];
#pragma unroll
    for (int j = 0; j < AT_ONCE; ++j) {
      if (far - j > 0) {
        left[j] = line[reflect<NEAR>(place - (far - j), length) * after];
        right[j] = line[reflect<NEAR>(place + (far - j), length) * after];
      }
    }
#pragma unroll
    for (int j = 0; j < AT_ONCE; ++j) {
      if (far - j > 0)
        sum = __fadd_rn(sum, __fmul_rn(__fadd_rn(at_least(left[j]), at_least(right[j])), weights[far - j]));
    }
  }
  return at_least(sum);
}

extern "C" __global__ void blur_axis(float* out, const float* in, const float* sigmas, int axis, INDEX voxels,
                                     INDEX length, INDEX after, int max_radius) {
  __shared__ float weights[MOST_RADIUS + 1];
  const double sigma = sigmas[3 * blockIdx.y + axis];
  const double reach = __dadd_rn(__dmul_rn(4.0, sigma), 0.5);
  if (!(reach < max_radius + 1.0)) __trap();
  const int radius = reach < 1.0 ? 0 : (int)reach;
  if (radius > 0) make_weights(weights, sigma, radius);
  out += (long long)blockIdx.y * voxels;
  in += (long long)blockIdx.y * voxels;
  const INDEX step = (INDEX)gridDim.x * blockDim.x;
  for (INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x; i < voxels; i += step) {
    if (radius == 0) {
      out[i] = in[i];
      continue;
    }
    const INDEX place = i / after % length;
    const float* line = in + (i - place * after);
    out[i] = radius <= length ? sum_around<true>(line, place, length, after, weights, radius)
                              : sum_around<false>(line, place, length, after, weights, radius);
  }
}
