// Boxes of voxels, each (d, h, w); concatenated in front of the kernels that use boxes.

// Whether a box leaves an array. The host cannot check this without waiting for the GPU.
__device__ __forceinline__ bool outside(const int* origin, const int* size, int depth, int height, int width) {
  const int length[3] = {depth, height, width};
  for (int axis = 0; axis < 3; ++axis)
    if (origin[axis] < 0 || size[axis] < 1 || size[axis] > length[axis] - origin[axis]) return true;
  return false;
}
