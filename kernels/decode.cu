// decode_volume: raw file voxels -> normalised crop.
//
//   target[b, c, z, y, x] = clip(round32(scale * raw[start + itemsize * (z sz + y sy + x sx)] + shift), low, high)
//
// inside the window lo <= (z, y, x) < hi, and `fill` outside of it and where the raw value is not finite. Orientation,
// crop and flip are all in (start, strides). scale * raw + shift is one float64 multiplication and one addition,
// never fused, rounded once to float32: the CPU reference (dali_cr/ops/decode.py) gives the same bits.
//
//   target   (samples, channels, depth, height, width) OUTPUT, contiguous
//   copy     the same again, or null: what the swaps will then be made in
//   raw      (samples, row_bytes) bytes
//   arena    bytes of volumes kept on the GPU, or null
//   records  (samples, channels, 16) int64, dali_cr/ops/decode.py says which word is what
//
// Grid: x over rows of the crop, y over samples * channels. Block: (32, rows at a time); a warp walks along a row, so
// writes are coalesced, and reads too where the file's x runs along W.
// Bytes that must move, a voxel: itemsize read, 4 (float16: 2) written, twice with `copy`.
// Defines: OUTPUT (float, or unsigned short for the bits of float16), STORE (how a float becomes an OUTPUT).

#define RECORD_WORDS 16

template <typename T>
__device__ __forceinline__ void decode_rows(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                            const unsigned char* __restrict__ raw, const Record& r, int rows,
                                            int height, int width) {
  for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
    const int z = row / height;
    const int y = row % height;
    const bool inside = z >= r.lo[0] && z < r.hi[0] && y >= r.lo[1] && y < r.hi[1];
    const long long first = z * r.stride[0] + y * r.stride[1];
    for (int x = threadIdx.x; x < width; x += blockDim.x) {
      float value = r.fill;
      if (inside && x >= r.lo[2] && x < r.hi[2]) value = decode_voxel<T>(r, raw, first + x * r.stride[2]);
      const long long at = (long long)row * width + x;
      const OUTPUT stored = STORE(value);
      target[at] = stored;
      if (copy) copy[at] = stored;
    }
  }
}

extern "C" __global__ void decode_volume(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                         const unsigned char* __restrict__ raw, const unsigned char* __restrict__ arena,
                                         const long long* __restrict__ records, long long row_bytes, int channels,
                                         int depth, int height, int width) {
  const int channel = blockIdx.y;
  const Record r = read_record(records + (long long)RECORD_WORDS * channel);
  const int rows = depth * height;
  const long long offset = (long long)channel * rows * width;
  target += offset;
  if (copy) copy += offset;
  raw = (r.in_arena ? arena : raw + row_bytes * (channel / channels)) + r.start;
  WITH_DTYPE(r.code, decode_rows, target, copy, raw, r, rows, height, width)
}
