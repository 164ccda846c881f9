// standardize: data = (data - mean) * scale, in place, with given numbers; in float64, rounded once.
//
//   data  (voxels) float, contiguous
//
// Grid: x over all voxels; neighbouring threads process neighbouring voxels.
// Memory traffic per voxel: 4 bytes read, 4 written.

extern "C" __global__ void standardize(float* data, long long voxels, double mean, double scale) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < voxels; i += step)
    data[i] = flush(__double2float_rn(__dmul_rn(__dsub_rn((double)data[i], mean), scale)));
}
