// gamma: data = sign(data) * |data| ** exponent, in place, as 2 ** (exponent * log2(|data|)).
//
// Zeros stay 0, NaN stays NaN, infinities count as 2**128. An exponent of exactly 1 leaves a volume unchanged.
//
//   data       (volumes, voxels) float, contiguous
//   exponents  (volumes) float, above 0
//
// Grid: x over the voxels of a volume, y over volumes; neighbouring threads process neighbouring voxels.
// Memory traffic per voxel: 4 bytes read, 4 written.

extern "C" __global__ void gamma_power(float* data, const float* exponents, long long voxels) {
  const float exponent = exponents[blockIdx.y];
  if (exponent == 1.0f) return;
  data += blockIdx.y * voxels;
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < voxels; i += step) {
    const float x = data[i];
    const float power = exp2_of(__fmul_rn(log2_of(fabsf(x)), exponent));
    data[i] = x > 0.0f ? power : x < 0.0f ? -power : x == 0.0f ? 0.0f : x;
  }
}
