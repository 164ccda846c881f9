// swap_patches: T swaps of two disjoint boxes, one after the other, in place.
//
//   for t in 0 ... T - 1:  data[a_t : a_t + size_t], data[b_t : b_t + size_t] = the other's voxels
//
//   data   (samples, arrays, depth, height, width) ELEMENT, contiguous: any type of 1, 2, 4 or 8 bytes, as bits
//   swaps  (samples, T, 3, 3) int32: origin a, origin b, size, each (d, h, w); the boxes of a pair are disjoint
//
// Grid: x = samples * arrays, one block each: the swaps of one array are sequential (a barrier after each), arrays are
// independent. A block touches only the voxels that are swapped.
// Bytes that must move: T * 2 * |patch| elements read and written for each array.
// A box that leaves the array stops the kernel (trap): the host cannot look at `swaps` without waiting for the GPU.
// Defines: ELEMENT (unsigned char, short, int or long long), INDEX (int, or long long above 2**31 elements).

extern "C" __global__ void swap_patches(ELEMENT* data, const int* swaps, int iterations, int arrays, int depth,
                                        int height, int width) {
  data += (long long)blockIdx.x * depth * height * width;
  swaps += (long long)(blockIdx.x / arrays) * iterations * 9;
  for (int t = 0; t < iterations; ++t, swaps += 9) {
    const int *a = swaps, *b = swaps + 3, *size = swaps + 6;
    if (outside(a, size, depth, height, width) || outside(b, size, depth, height, width)) __trap();
    const INDEX plane = (INDEX)size[1] * size[2];
    const INDEX voxels = size[0] * plane;
    const INDEX from = ((INDEX)a[0] * height + a[1]) * width + a[2];
    const INDEX to = ((INDEX)b[0] * height + b[1]) * width + b[2];
    for (INDEX i = threadIdx.x; i < voxels; i += blockDim.x) {
      const int z = (int)(i / plane), rest = (int)(i % plane);
      const INDEX at = ((INDEX)z * height + rest / size[2]) * width + rest % size[2];
      const ELEMENT kept = data[from + at];
      data[from + at] = data[to + at];
      data[to + at] = kept;
    }
    __syncthreads();
  }
}
