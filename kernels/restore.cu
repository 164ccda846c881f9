// restore_pairs: raw file voxels -> target and input crop in one pass.
//
//   target[b, c] = as decode_volume gives it
//   input[b, c, p] = target[b, c, source(p)], source following a voxel back through the T swaps, last one first
//
// The same pairs as decode_volume, a copy and swap_patches, without a barrier and without touching a voxel twice. To
// find the last swap that moved a voxel takes no T box tests but three look-ups: for each coordinate of each axis,
// swap_masks says as bits which swaps' boxes hold it, and the AND of three words has a bit for each box that holds the
// voxel. Below that swap the search goes on from the partner's place; most voxels find nothing in the first look.
//
//   masks  (samples, words, depth + height + width, 2) 64 bits: bit t of word w for swap 64 w + t, box a and box b
//   swaps  (samples, T, 3, 3) int32, as for swap_patches; a box that leaves the crop stops the kernel (trap)
//   target, input, raw, arena, records: as for decode_volume
//
// swap_masks: one block a sample. restore_pairs: grid, block and defines as for decode_volume.
// Bytes that must move, a voxel: itemsize read, 2 x 4 (float16: 2 x 2) written; masks stay in L1 (13 KB at 128^3, T =
// 100).

#define RECORD_WORDS 16
#define MASK_BITS 64

typedef unsigned long long Mask;

extern "C" __global__ void swap_masks(Mask* masks, const int* swaps, int iterations, int words, int depth, int height,
                                      int width) {
  const int length = depth + height + width;
  masks += 2LL * blockIdx.x * words * length;
  swaps += 9LL * blockIdx.x * iterations;
  for (int t = threadIdx.x; t < iterations; t += blockDim.x) {
    const int* box = swaps + 9 * t;
    if (outside(box, box + 6, depth, height, width) || outside(box + 3, box + 6, depth, height, width)) __trap();
  }
  for (int i = threadIdx.x; i < words * length; i += blockDim.x) {
    const int place = i % length, first = i / length * MASK_BITS;
    const int axis = place < depth ? 0 : place < depth + height ? 1 : 2;
    const int at = place - (axis > 0 ? depth : 0) - (axis > 1 ? height : 0);
    Mask a = 0, b = 0;
    for (int t = first; t < min(first + MASK_BITS, iterations); ++t) {
      const int* box = swaps + 9 * t + axis;
      const Mask bit = (Mask)1 << (t - first);
      if (at >= box[0] && at < box[0] + box[6]) a |= bit;
      if (at >= box[3] && at < box[3] + box[6]) b |= bit;
    }
    masks[2 * i] = a;
    masks[2 * i + 1] = b;
  }
}

struct Place {
  int z, y, x;
};

// The swaps of one sample, and the crop's edges.
struct Trace {
  const Mask* __restrict__ masks;
  const int* __restrict__ swaps;
  int iterations, words, depth, height, length;
};

// Follow a voxel back to where it lay before the swaps; returns whether that is elsewhere.
__device__ __forceinline__ bool follow(const Trace& trace, Place& p) {
  bool moved = false;
  int before = trace.iterations;
  for (int word = trace.words - 1; word >= 0;) {
    const Mask* masks = trace.masks + 2LL * word * trace.length;
    const Mask *d = masks + 2 * p.z, *h = masks + 2 * (trace.depth + p.y);
    const Mask* w = masks + 2 * (trace.depth + trace.height + p.x);
    const Mask in_a = d[0] & h[0] & w[0], in_b = d[1] & h[1] & w[1];
    const int rest = before - word * MASK_BITS;
    const Mask found = (in_a | in_b) & (rest < MASK_BITS ? ((Mask)1 << rest) - 1 : ~(Mask)0);
    if (!found) {
      --word;
      continue;
    }
    const int bit = MASK_BITS - 1 - __clzll((long long)found);
    before = word * MASK_BITS + bit;
    const int* box = trace.swaps + 9 * before;
    const int sign = in_a >> bit & 1 ? 1 : -1;  // in box a lies what lay in box b
    p.z += sign * (box[3] - box[0]);
    p.y += sign * (box[4] - box[1]);
    p.x += sign * (box[5] - box[2]);
    moved = true;
  }
  return moved;
}

template <typename T>
__device__ __forceinline__ float voxel_at(const Record& r, const unsigned char* __restrict__ raw, const Place& p) {
  const bool inside =
      p.z >= r.lo[0] && p.z < r.hi[0] && p.y >= r.lo[1] && p.y < r.hi[1] && p.x >= r.lo[2] && p.x < r.hi[2];
  return inside ? decode_voxel<T>(r, raw, p.z * r.stride[0] + p.y * r.stride[1] + p.x * r.stride[2]) : r.fill;
}

template <typename T>
__device__ __forceinline__ void restore_rows(OUTPUT* __restrict__ target, OUTPUT* __restrict__ input,
                                             const unsigned char* __restrict__ raw, const Record& r, const Trace& trace,
                                             int rows, int width) {
  for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
    for (int x = threadIdx.x; x < width; x += blockDim.x) {
      Place p = {row / trace.height, row % trace.height, x};
      const OUTPUT own = STORE(voxel_at<T>(r, raw, p));
      const long long at = (long long)row * width + x;
      target[at] = own;
      input[at] = follow(trace, p) ? STORE(voxel_at<T>(r, raw, p)) : own;
    }
  }
}

extern "C" __global__ void restore_pairs(OUTPUT* __restrict__ target, OUTPUT* __restrict__ input,
                                         const unsigned char* __restrict__ raw, const unsigned char* __restrict__ arena,
                                         const long long* __restrict__ records, const Mask* __restrict__ masks,
                                         const int* __restrict__ swaps, long long row_bytes, int iterations, int words,
                                         int channels, int depth, int height, int width) {
  const int channel = blockIdx.y, sample = channel / channels, length = depth + height + width;
  const Record r = read_record(records + (long long)RECORD_WORDS * channel);
  const Trace trace = {masks + 2LL * sample * words * length,
                       swaps + 9LL * sample * iterations,
                       iterations,
                       words,
                       depth,
                       height,
                       length};
  const int rows = depth * height;
  const long long offset = (long long)channel * rows * width;
  target += offset;
  input += offset;
  raw = (r.in_arena ? arena : raw + row_bytes * sample) + r.start;
  WITH_DTYPE(r.code, restore_rows, target, input, raw, r, trace, rows, width)
}
