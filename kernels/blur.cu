// blur_axis: a Gaussian along one axis; three launches blur a volume.
//
//   out[i] = w[0] in[i] + w[r] (in[i - r] + in[i + r]) + ... + w[1] (in[i - 1] + in[i + 1])      in this order
//
// Cut off at r = int(4 sigma + 0.5), borders reflected (d c b a | a b c d | d c b a), float32, each product and sum
// rounded. Weights are multiples of 2**-30 and voxels below 2**-70 are 0: no subnormal comes up. Where r is 0, the
// voxels are copied.
//
//   out, in  (volumes, before, length, after) float, contiguous: `length` is the axis
//   sigmas   (volumes, 3) float, of which column `axis` counts
//
// Grid: x over the voxels of a volume (all its channels), y over volumes; neighbouring threads take neighbouring
// voxels, and the 2 r + 1 reads of a voxel hit lines that its neighbours read.
// Bytes that must move, a voxel: 4 read, 4 written, for each axis.
// A sigma whose r is above max_radius, or a NaN, stops the kernel (trap).
// Defines: INDEX (int, or long long from 2**30 voxels on), MOST_RADIUS (of max_radius).

__device__ __forceinline__ float at_least(float x) { return fabsf(x) < 8.470329472543003e-22f ? 0.0f : x; }

template <typename I>
__device__ __forceinline__ I reflect(I place, I length) {
  if (place >= 0 && place < length) return place;
  place %= 2 * length;
  if (place < 0) place += 2 * length;
  return place < length ? place : 2 * length - 1 - place;
}

// The weights from the middle outwards, by the first thread for all.
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
    float sum = __fmul_rn(at_least(in[i]), weights[0]);
    for (int k = radius; k > 0; --k) {
      const float left = at_least(line[reflect<INDEX>(place - k, length) * after]);
      const float right = at_least(line[reflect<INDEX>(place + k, length) * after]);
      sum = __fadd_rn(sum, __fmul_rn(__fadd_rn(left, right), weights[k]));
    }
    out[i] = at_least(sum);
  }
}
