// erase_patches: fill the first box of each swap with a value, in place.
//
//   for t in 0 ... T - 1:  data[a_t : a_t + size_t] = value
//
//   data    (samples, arrays, depth, height, width) ELEMENT, contiguous; bits of any type of 1, 2, 4 or 8 bytes
//   values  (samples, arrays) ELEMENT, the bits of the value
//   swaps   (samples, T, 3, 3) int32: origin a, origin b (ignored), size, each (d, h, w)
//
// Grid: x = samples * arrays, y = T, one block per box; overlapping boxes write the same value.
// Memory traffic: each voxel in the union of the boxes written once.
// A box that leaves the array traps the kernel.
// Defines: ELEMENT (unsigned char, short, int or long long), INDEX (int, or long long above 2**31 elements).

extern "C" __global__ void erase_patches(ELEMENT* data, const ELEMENT* values, const int* swaps, int iterations,
                                         int arrays, int depth, int height, int width) {
  data += (long long)blockIdx.x * depth * height * width;
  swaps += ((long long)(blockIdx.x / arrays) * iterations + blockIdx.y) * 9;
  const ELEMENT value = values[blockIdx.x];
  const int *a = swaps, *size = swaps + 6;
  if (outside(a, size, depth, height, width)) __trap();
  const INDEX plane = (INDEX)size[1] * size[2];
  const INDEX voxels = size[0] * plane;
  const INDEX first = ((INDEX)a[0] * height + a[1]) * width + a[2];
  for (INDEX i = threadIdx.x; i < voxels; i += blockDim.x) {
    const int z = (int)(i / plane), rest = (int)(i % plane);
    data[first + ((INDEX)z * height + rest / size[2]) * width + rest % size[2]] = value;
  }
}
