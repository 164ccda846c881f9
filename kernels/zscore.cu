// zscore: data = (data - mean) / std, in place, for each array by itself.
//
// Sums are float64 in the order of lanes.cuh. The standard deviation has the divisor voxels - 1; if it is 0, the result
// is 0.
//
//   data  (arrays, voxels) float, contiguous
//
// Grid: x = arrays, one block of LANES threads each. Reads are coalesced.
// Memory traffic per voxel: 4 bytes read, 4 written; two more reads come from L2 if the array fits.
// Define: LANES (a power of 2).

extern "C" __global__ void zscore(float* data, long long voxels) {
  __shared__ double lanes[LANES];
  data += blockIdx.x * voxels;
  double own = 0.0;
  for (long long i = threadIdx.x; i < voxels; i += LANES) own = __dadd_rn(own, (double)data[i]);
  const double mean = __ddiv_rn(sum_lanes(lanes, own), (double)voxels);
  own = 0.0;
  for (long long i = threadIdx.x; i < voxels; i += LANES) {
    const double distance = __dsub_rn((double)data[i], mean);
    own = __dadd_rn(own, __dmul_rn(distance, distance));
  }
  const double std = __dsqrt_rn(__ddiv_rn(sum_lanes(lanes, own), (double)(voxels > 1 ? voxels - 1 : 1)));
  const double scale = std == 0.0 ? 0.0 : __ddiv_rn(1.0, std);
  for (long long i = threadIdx.x; i < voxels; i += LANES)
    data[i] = flush(__double2float_rn(__dmul_rn(__dsub_rn((double)data[i], mean), scale)));
}
