// decode_volume: raw file voxels -> normalised crop.
//
//   target[b, c, z, y, x] = clip(round32(scale * raw[start + itemsize * (z sz + y sy + x sx)] + shift), low, high)
//
// inside the window lo <= (z, y, x) < hi; the padding value outside of it and where the raw value is not finite.
// Orientation, crop and flip are all in (start, strides). scale * raw + shift is one float64 multiplication and one
// addition, never fused, rounded once to float32: the CPU reference (dali_cr/ops/decode.py) gives the same bits.
//
//   target   (samples, channels, depth, height, width) OUTPUT, contiguous, 16-byte aligned
//   copy     the same as target, or null; patches are swapped in the copy later
//   raw      (samples, row_bytes) bytes, 16-byte aligned
//   arena    bytes of volumes cached on the GPU, 16-byte aligned, or null
//   records  (samples, channels, 16) int64; dali_cr/ops/records/layout.py defines the words
//
// If sx is 1 or -1 and `width` is a multiple of PER_STORE, a thread decodes PER_STORE voxels of a row and stores 16
// bytes. It loads voxels of several rows before it decodes the first one. A row may start at any item, so it is read in
// aligned words, which are then shifted; a word is read only if it contains a voxel of the window. In other cases each
// thread decodes one voxel.
//
// Grid: x over rows of the crop, y over samples * channels. Block: (lanes along a row, rows), 256 threads.
// Memory traffic per voxel: itemsize bytes read, 4 (float16: 2) written, twice with `copy`. float64 work per voxel: one
// product, one sum and two conversions, which take as long as the memory traffic on GPUs with few float64 units (1/64).
// Defines: OUTPUT (float, or unsigned short for the bits of float16), STORE (how a float becomes an OUTPUT).

#define RECORD_WORDS 16
#define PER_STORE (16 / (int)sizeof(OUTPUT))

// For Volta, the compiler spills registers to allow more blocks, unless one block is declared sufficient.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
#define BOUNDS __launch_bounds__(256, 1)
#else
#define BOUNDS __launch_bounds__(256)
#endif

// Type of the words in which raw bytes are read.
template <int BYTES>
struct WordFor {
  typedef unsigned long long Type;
};
template <>
struct WordFor<4> {
  typedef unsigned int Type;
};

// PER_STORE consecutive items, valid in [begin, end), stored as words from the preceding word boundary.
template <typename T>
struct Piece {
  typedef typename T::Bits Bits;
  typedef typename WordFor<PER_STORE*(int)sizeof(Bits)>::Type Word;
  enum {
    ITEM = sizeof(Bits),
    WIDTH = sizeof(Word),
    COUNT = PER_STORE * ITEM / WIDTH,
    SHIFTED = ITEM < WIDTH,   // items as wide as a word are always aligned
    ROWS = COUNT > 2 ? 1 : 2  // rows loaded together
  };

  Word words[COUNT + SHIFTED];
  int offset, begin, end;

  __device__ __forceinline__ void load(const unsigned char* at) {
    offset = (int)((size_t)at % WIDTH);
    if (COUNT % 2 == 0 && (size_t)at % 16 == 0 && begin == 0 && end == PER_STORE) {
#pragma unroll
      for (int i = 0; i + 1 < COUNT; i += 2) {
        const ulonglong2 pair = ((const ulonglong2*)at)[i / 2];
        words[i] = (Word)pair.x;
        words[i + 1] = (Word)pair.y;
      }
      return;
    }
    const Word* from = (const Word*)(at - offset);
    const int first = offset + begin * ITEM, last = begin < end ? offset + end * ITEM : 0;
#pragma unroll
    for (int i = 0; i < COUNT + SHIFTED; ++i)
      if (i * WIDTH < last && (i + 1) * WIDTH > first) words[i] = from[i];
  }

  // Shift the items to the front, and swap their bytes.
  __device__ __forceinline__ void align(bool big_endian) {
    if (SHIFTED && offset > 0) {
#pragma unroll
      for (int i = 0; i < COUNT; ++i)
        words[i] = words[i] >> (8 * offset) | words[i + SHIFTED] << (8 * (WIDTH - offset));
    }
    if (ITEM > 1 && big_endian) {
#pragma unroll
      for (int i = 0; i < COUNT; ++i) words[i] = swap_items(words[i]);
    }
  }

  static __device__ __forceinline__ unsigned int swap_items(unsigned int word) {
    return __byte_perm(word, 0u, ITEM == 2 ? 0x2301u : 0x0123u);
  }
  static __device__ __forceinline__ unsigned long long swap_items(unsigned long long word) {
    const unsigned long long low = swap_items((unsigned int)word), high = swap_items((unsigned int)(word >> 32));
    return ITEM == 8 ? low << 32 | high : high << 32 | low;
  }

  __device__ __forceinline__ Bits item(int i) const {
    return (Bits)(words[i * ITEM / WIDTH] >> (8 * (i * ITEM % WIDTH)));
  }
};

__device__ __forceinline__ void store(OUTPUT* target, OUTPUT* copy, const float* values) {
  unsigned int words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(OUTPUT) == 4)
      words[i] = __float_as_uint(values[i]);
    else
      words[i] = (unsigned int)STORE(values[2 * i]) | (unsigned int)STORE(values[2 * i + 1]) << 16;
  }
  const uint4 stored = make_uint4(words[0], words[1], words[2], words[3]);
  *(uint4*)target = stored;
  if (copy) *(uint4*)copy = stored;
}

// Decode a piece and store it at `target`.
template <typename T>
__device__ __forceinline__ void decode_piece(Piece<T>& piece, const Record& r, bool reversed, OUTPUT* target,
                                             OUTPUT* copy) {
  float values[PER_STORE];
  piece.align(r.big_endian);
#pragma unroll
  for (int i = 0; i < PER_STORE; ++i) values[i] = decode_bits<T>(r, piece.item(i));
  if (piece.begin > 0 || piece.end < PER_STORE) {
#pragma unroll
    for (int i = 0; i < PER_STORE; ++i)
      if (i < piece.begin || i >= piece.end) values[i] = r.padding;
  }
  if (reversed) {
#pragma unroll
    for (int i = 0; i < PER_STORE / 2; ++i) {
      const float kept = values[i];
      values[i] = values[PER_STORE - 1 - i];
      values[PER_STORE - 1 - i] = kept;
    }
  }
  store(target, copy, values);
}

// Decode rows whose voxels are consecutive in the file, in either direction.
template <typename T>
__device__ __forceinline__ void decode_pieces(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                              const unsigned char* __restrict__ raw, const Record& r, int rows,
                                              int height, int width) {
  const int ROWS = Piece<T>::ROWS;
  const bool reversed = r.stride[2] < 0;
  for (int x = threadIdx.x * PER_STORE; x < width; x += blockDim.x * PER_STORE) {
    int begin = max(r.lo[2] - x, 0), end = min(r.hi[2] - x, PER_STORE);
    if (reversed) {
      const int first = PER_STORE - end;
      end = PER_STORE - begin;
      begin = first;
    }
    const long long lowest = reversed ? -(long long)x - (PER_STORE - 1) : x;
    for (int row = blockIdx.x * ROWS * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * ROWS * blockDim.y) {
      Piece<T> pieces[ROWS];
      int z = row / height, y = row % height;
#pragma unroll
      for (int i = 0; i < ROWS; ++i) {
        const bool inside = z >= r.lo[0] && z < r.hi[0] && y >= r.lo[1] && y < r.hi[1];
        pieces[i].begin = begin;
        pieces[i].end = inside ? end : 0;
        pieces[i].load(raw + (z * r.stride[0] + y * r.stride[1] + lowest) * Piece<T>::ITEM);
        for (y += blockDim.y; y >= height; y -= height) ++z;
      }
#pragma unroll
      for (int i = 0; i < ROWS; ++i) {
        const int own = row + i * blockDim.y;
        const long long at = (long long)own * width + x;
        if (own < rows) decode_piece(pieces[i], r, reversed, target + at, copy ? copy + at : nullptr);
      }
    }
  }
}

template <typename T>
__device__ __forceinline__ void decode_voxels(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                              const unsigned char* __restrict__ raw, const Record& r, int rows,
                                              int height, int width) {
  for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
    const int z = row / height;
    const int y = row % height;
    const bool inside = z >= r.lo[0] && z < r.hi[0] && y >= r.lo[1] && y < r.hi[1];
    const long long first = z * r.stride[0] + y * r.stride[1];
    for (int x = threadIdx.x; x < width; x += blockDim.x) {
      float value = r.padding;
      if (inside && x >= r.lo[2] && x < r.hi[2]) value = decode_voxel<T>(r, raw, first + x * r.stride[2]);
      const long long at = (long long)row * width + x;
      const OUTPUT stored = STORE(value);
      target[at] = stored;
      if (copy) copy[at] = stored;
    }
  }
}

template <typename T>
__device__ __forceinline__ void decode_rows(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                            const unsigned char* __restrict__ raw, const Record& r, int rows,
                                            int height, int width) {
  if (width % PER_STORE == 0 && (r.stride[2] == 1 || r.stride[2] == -1))
    decode_pieces<T>(target, copy, raw, r, rows, height, width);
  else
    decode_voxels<T>(target, copy, raw, r, rows, height, width);
}

extern "C" __global__ void BOUNDS decode_volume(OUTPUT* __restrict__ target, OUTPUT* __restrict__ copy,
                                                const unsigned char* __restrict__ raw,
                                                const unsigned char* __restrict__ arena,
                                                const long long* __restrict__ records, long long row_bytes,
                                                int channels, int depth, int height, int width) {
  const int channel = blockIdx.y;
  const Record r = read_record(records + (long long)RECORD_WORDS * channel);
  const int rows = depth * height;
  const long long offset = (long long)channel * rows * width;
  target += offset;
  if (copy) copy += offset;
  raw = (r.in_arena ? arena : raw + row_bytes * (channel / channels)) + r.start;
  WITH_DTYPE(r.code, decode_rows, target, copy, raw, r, rows, height, width)
}
