// swap_patches: T swaps of two disjoint boxes, in sequence and in place.
//
//   for t in 0 ... T - 1:  data[a_t : a_t + size_t], data[b_t : b_t + size_t] = the other's voxels
//
//   data   (samples, arrays, depth, height, width) ELEMENT, contiguous; bits of any type of 1, 2, 4 or 8 bytes
//   swaps  (samples, T, 3, 3) int32: origin a, origin b, size, each (d, h, w); the boxes of a pair are disjoint
//
// A swap is bound by latency, so a thread reads AT_ONCE voxels of both boxes before it writes (the compiler cannot
// reorder them, because a write could alias a later read). Boxes are read from shared memory, where one thread per swap
// has checked them and computed the strides; a thread divides only once per swap, to find its first voxel.
//
// Grid: x = samples * arrays, one block each. The swaps of one array are sequential, with a barrier after each; arrays
// are independent. A block accesses only the swapped voxels. Memory traffic per array: T * 2 * |patch| elements read
// and written. A box that leaves the array traps the kernel; the host cannot check `swaps` without waiting for the GPU.
// Defines: ELEMENT (unsigned char, short, int or long long), INDEX (int, or long long above 2**31 elements).

#define AT_ONCE (sizeof(ELEMENT) > 4 ? 2 : 4)  // 1024 threads have 64 registers each
#define KEPT_SWAPS 64

struct KeptSwap {
  int a[3], b[3], size[3];
  int step[3];  // from a voxel of a thread to its next voxel, (d, h, w)
};

__device__ __forceinline__ void keep_swap(KeptSwap& kept, const int* words, int depth, int height, int width) {
  for (int axis = 0; axis < 3; ++axis) {
    kept.a[axis] = words[axis];
    kept.b[axis] = words[3 + axis];
    kept.size[axis] = words[6 + axis];
  }
  if (outside(kept.a, kept.size, depth, height, width) || outside(kept.b, kept.size, depth, height, width)) __trap();
  const INDEX plane = (INDEX)kept.size[1] * kept.size[2], threads = blockDim.x;
  kept.step[0] = (int)(threads / plane);
  kept.step[1] = (int)(threads % plane / kept.size[2]);
  kept.step[2] = (int)(threads % plane % kept.size[2]);
}

// Swap the voxels of two boxes with all threads of the block.
__device__ __forceinline__ void swap_boxes(ELEMENT* first, ELEMENT* second, const int* size, const int* step,
                                           int height, int width) {
  const INDEX plane = (INDEX)size[1] * size[2], thread = threadIdx.x;
  if (thread >= size[0] * plane) return;
  int z = (int)(thread / plane), y = (int)(thread % plane / size[2]), x = (int)(thread % plane % size[2]);
  const int dz = step[0], dy = step[1], dx = step[2];
  while (z < size[0]) {
    INDEX at[AT_ONCE];
    ELEMENT here[AT_ONCE], there[AT_ONCE];
    bool mine[AT_ONCE];
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) {
      mine[k] = z < size[0];
      if (mine[k]) {
        at[k] = ((INDEX)z * height + y) * width + x;
        here[k] = first[at[k]];
        there[k] = second[at[k]];
      }
      x += dx;
      y += dy + (x >= size[2]);
      z += dz + (y >= size[1]);
      x -= x >= size[2] ? size[2] : 0;
      y -= y >= size[1] ? size[1] : 0;
    }
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) {
      if (mine[k]) {
        first[at[k]] = there[k];
        second[at[k]] = here[k];
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(1024)
    swap_patches(ELEMENT* data, const int* swaps, int iterations, int arrays, int depth, int height, int width) {
  __shared__ KeptSwap kept[KEPT_SWAPS];
  data += (long long)blockIdx.x * depth * height * width;
  swaps += (long long)(blockIdx.x / arrays) * iterations * 9;
  for (int first = 0; first < iterations; first += KEPT_SWAPS) {
    const int count = min(KEPT_SWAPS, iterations - first);
    for (int i = threadIdx.x; i < count; i += blockDim.x)
      keep_swap(kept[i], swaps + 9LL * (first + i), depth, height, width);
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      const int *a = kept[i].a, *b = kept[i].b;
      swap_boxes(data + ((INDEX)a[0] * height + a[1]) * width + a[2],
                 data + ((INDEX)b[0] * height + b[1]) * width + b[2], kept[i].size, kept[i].step, height, width);
      __syncthreads();
    }
  }
}
