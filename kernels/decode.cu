// decode_volume: raw file voxels -> normalised crop.
//
//   target[b, c, z, y, x] = clip(round32(scale * raw[start + itemsize * (z sz + y sy + x sx)] + shift), low, high)
//
// inside the window lo <= (z, y, x) < hi, and `fill` outside of it and where the raw value is not finite. Orientation,
// crop and flip are all in (start, strides). scale * raw + shift is one float64 multiplication and one addition,
// never fused, rounded once to float32: the NumPy reference (dali_cr/ops/decode.py) gives the same bits.
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
__device__ __forceinline__ void decode_rows(OUTPUT* target, OUTPUT* copy, const unsigned char* raw, const Record& r,
                                            int rows, int height, int width) {
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

extern "C" __global__ void decode_volume(OUTPUT* target, OUTPUT* copy, const unsigned char* raw,
                                         const unsigned char* arena, const long long* records, long long row_bytes,
                                         int channels, int depth, int height, int width) {
  const int channel = blockIdx.y;
  const Record r = read_record(records + (long long)RECORD_WORDS * channel);
  const int rows = depth * height;
  const long long offset = (long long)channel * rows * width;
  target += offset;
  if (copy) copy += offset;
  raw = (r.in_arena ? arena : raw + row_bytes * (channel / channels)) + r.start;
  switch (r.code) {
    case 0:
      decode_rows<Uint8>(target, copy, raw, r, rows, height, width);
      break;
    case 1:
      decode_rows<Int8>(target, copy, raw, r, rows, height, width);
      break;
    case 2:
      decode_rows<Uint16>(target, copy, raw, r, rows, height, width);
      break;
    case 3:
      decode_rows<Int16>(target, copy, raw, r, rows, height, width);
      break;
    case 4:
      decode_rows<Uint32>(target, copy, raw, r, rows, height, width);
      break;
    case 5:
      decode_rows<Int32>(target, copy, raw, r, rows, height, width);
      break;
    case 6:
      decode_rows<Uint64>(target, copy, raw, r, rows, height, width);
      break;
    case 7:
      decode_rows<Int64>(target, copy, raw, r, rows, height, width);
      break;
    case 8:
      decode_rows<Float32>(target, copy, raw, r, rows, height, width);
      break;
    case 9:
      decode_rows<Float64>(target, copy, raw, r, rows, height, width);
      break;
    default:
      __trap();
  }
}
