// gather_views: raw file voxels -> views through affine maps, several views per volume.
//
//   source = (offset + m0 d) + (m1 h + m2 w)                    float64, each product and sum rounded
//   views[b, v, c, d, h, w] = trilinear interpolation of the decoded voxels around the source, or the nearest voxel
//
// A corner outside lo <= voxel < hi has the padding value. In clamped mode, a source up to half a voxel outside of the
// outermost centres is moved to them, and one farther outside gets the padding value.
// Fractions are float32 in steps of 2**-23; interpolation runs along W, then H, then D, each time as a + f * (b - a),
// never fused: the CPU reference (dali_cr/ops/gather.py) gives the same bits. A source that is not finite, or far away,
// is outside.
//
//   out      (samples, views, channels, depth, height, width) float, contiguous
//   raw      (samples, row_bytes) bytes
//   arena    bytes of volumes cached on the GPU, or null
//   records  (samples, views, channels, 32) int64; dali_cr/ops/records/layout.py defines the words
//
// Grid: x over rows of the views, y over samples * views * channels. Block: (32, rows). A warp processes a row, so
// writes are coalesced; neighbouring sources share cache lines if the rotation is small. Memory traffic: 4 bytes
// written per output voxel; each voxel of the file next to a source read once.

#define RECORD_WORDS 32
#define NEAREST 1
#define CLAMPED 2

// Affine map of a view: matrix row by row, and offset.
struct View {
  double matrix[9], offset[3];
};

__device__ __forceinline__ View read_view(const long long* words) {
  View view;
  for (int i = 0; i < 9; ++i) view.matrix[i] = __longlong_as_double(words[16 + i]);
  for (int i = 0; i < 3; ++i) view.offset[i] = __longlong_as_double(words[25 + i]);
  return view;
}

// Return the lower corner of a source along one axis, and the fraction above it.
__device__ __forceinline__ int lower_corner(double source, int lo, int hi, float& fraction) {
  const double below = floor(source);
  fraction = 0.0f;
  if (!(below >= lo - 2.0 && below <= (double)hi)) return lo - 2;  // both corners are outside, also for NaN
  fraction = __fadd_rn(__fadd_rn(__double2float_rn(__dsub_rn(source, below)), 1.0f), -1.0f);
  return (int)below;
}

// Return a source along one axis: clamped to the outermost centres if it is up to 0.5 outside of them, else outside.
__device__ __forceinline__ double clamp_source(double source, int lo, int hi) {
  if (!(source >= lo - 0.5)) return lo - 2.0;  // also for NaN
  if (source > hi - 0.5) return hi;
  return source < lo ? lo : source > hi - 1.0 ? hi - 1.0 : source;
}

__device__ __forceinline__ float lerp(float a, float b, float fraction) {
  return __fadd_rn(a, __fmul_rn(fraction, __fsub_rn(b, a)));
}

template <typename T>
__device__ __forceinline__ float corner(const Record& r, const unsigned char* raw, int z, int y, int x) {
  const bool inside = z >= r.lo[0] && z < r.hi[0] && y >= r.lo[1] && y < r.hi[1] && x >= r.lo[2] && x < r.hi[2];
  return inside ? decode_voxel<T>(r, raw, z * r.stride[0] + y * r.stride[1] + x * r.stride[2]) : r.padding;
}

template <typename T>
__device__ __forceinline__ float edge(const Record& r, const unsigned char* raw, int z, int y, int x, float fx) {
  return lerp(corner<T>(r, raw, z, y, x), corner<T>(r, raw, z, y, x + 1), fx);
}

template <typename T>
__device__ __forceinline__ float interpolate(const Record& r, const unsigned char* raw, const double* source) {
  float fz, fy, fx;
  const int z = lower_corner(source[0], r.lo[0], r.hi[0], fz);
  const int y = lower_corner(source[1], r.lo[1], r.hi[1], fy);
  const int x = lower_corner(source[2], r.lo[2], r.hi[2], fx);
  const float near = lerp(edge<T>(r, raw, z, y, x, fx), edge<T>(r, raw, z, y + 1, x, fx), fy);
  const float far = lerp(edge<T>(r, raw, z + 1, y, x, fx), edge<T>(r, raw, z + 1, y + 1, x, fx), fy);
  return flush(lerp(near, far, fz));
}

template <typename T>
__device__ __forceinline__ float nearest_voxel(const Record& r, const unsigned char* raw, const double* source) {
  float fraction;
  const int z = lower_corner(__dadd_rn(source[0], 0.5), r.lo[0], r.hi[0], fraction);
  const int y = lower_corner(__dadd_rn(source[1], 0.5), r.lo[1], r.hi[1], fraction);
  const int x = lower_corner(__dadd_rn(source[2], 0.5), r.lo[2], r.hi[2], fraction);
  return corner<T>(r, raw, z, y, x);
}

template <typename T>
__device__ __forceinline__ void gather_rows(float* out, const unsigned char* raw, const Record& r, const View& view,
                                            int mode, int rows, int height, int width) {
  for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
    const double d = row / height, h = row % height;
    for (int w = threadIdx.x; w < width; w += blockDim.x) {
      double source[3];
      for (int i = 0; i < 3; ++i) {
        const double along = __dadd_rn(view.offset[i], __dmul_rn(view.matrix[3 * i], d));
        const double across = __dadd_rn(__dmul_rn(view.matrix[3 * i + 1], h), __dmul_rn(view.matrix[3 * i + 2], w));
        source[i] = __dadd_rn(along, across);
        if (mode == CLAMPED) source[i] = clamp_source(source[i], r.lo[i], r.hi[i]);
      }
      const float value = mode == NEAREST ? nearest_voxel<T>(r, raw, source) : interpolate<T>(r, raw, source);
      out[(long long)row * width + w] = value;
    }
  }
}

extern "C" __global__ void gather_views(float* out, const unsigned char* raw, const unsigned char* arena,
                                        const long long* records, long long row_bytes, int views, int depth, int height,
                                        int width) {
  const int number = blockIdx.y;
  const long long* words = records + (long long)RECORD_WORDS * number;
  const Record r = read_record(words);
  const View view = read_view(words);
  const int mode = (int)words[15];
  const int rows = depth * height;
  out += (long long)number * rows * width;
  raw = (r.in_arena ? arena : raw + row_bytes * (number / views)) + r.start;
  WITH_DTYPE(r.code, gather_rows, out, raw, r, view, mode, rows, height, width)
}
