// Sums of an array in a fixed order, by one block of LANES threads; concatenated in front of the kernels that use them.
//
// Voxel i is added to lane i mod LANES; then the upper half of the lanes is added to the lower half, and so on.
// Define: LANES (a power of 2).

__device__ __forceinline__ double sum_lanes(double* lanes, double own) {
  __syncthreads();  // wait until the last sum has been read
  lanes[threadIdx.x] = own;
  __syncthreads();
  for (int half = LANES / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) lanes[threadIdx.x] = __dadd_rn(lanes[threadIdx.x], lanes[threadIdx.x + half]);
    __syncthreads();
  }
  return lanes[0];
}
