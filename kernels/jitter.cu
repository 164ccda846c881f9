// jitter: brightness, data = clip(brightness * data), and contrast, data = clip(mean + contrast * (data - mean)), in
// place, in either order, clipped to 0...1; mean is that of the array before the change of contrast.
//
// The sum has the order of lanes.cuh.
//
//   data     (arrays, voxels) float, contiguous; no NaN
//   factors  (arrays / channels, 3) float: brightness, contrast, and whether contrast is first; both 1: unchanged
//
// Grid: x = arrays, one block of LANES threads each; neighbouring threads process neighbouring voxels.
// Memory traffic per voxel: 8 bytes read in two passes, the second from L2 if the array fits; 4 written.
// Define: LANES (a power of 2).

// Round to float32 and clip to 0...1.
__device__ __forceinline__ float clip(double x) {
  const float rounded = __double2float_rn(x);
  return rounded < 1.17549435e-38f ? 0.0f : rounded > 1.0f ? 1.0f : rounded;
}

extern "C" __global__ void jitter(float* data, const float* factors, long long voxels, int channels) {
  __shared__ double lanes[LANES];
  factors += 3 * (blockIdx.x / channels);
  const double brightness = factors[0], contrast = factors[1];
  const bool first = factors[2] != 0.0f;
  if (brightness == 1.0 && contrast == 1.0) return;
  data += blockIdx.x * voxels;
  double own = 0.0;
  for (long long i = threadIdx.x; i < voxels; i += LANES) {
    if (!first) data[i] = clip(__dmul_rn(brightness, (double)data[i]));
    own = __dadd_rn(own, (double)data[i]);
  }
  const double mean = __ddiv_rn(sum_lanes(lanes, own), (double)voxels);
  const double rest = __dmul_rn(__dsub_rn(1.0, contrast), mean);
  for (long long i = threadIdx.x; i < voxels; i += LANES) {
    const float x = clip(__dadd_rn(__dmul_rn(contrast, (double)data[i]), rest));
    data[i] = first ? clip(__dmul_rn(brightness, (double)x)) : x;
  }
}
