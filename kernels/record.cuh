// Records: layout, scaling and position of raw voxels; concatenated in front of the kernels that read files.
//
// The first 15 words of a record are the same for these kernels; dali_cr/ops/records/layout.py defines them.

struct Record {
  long long start;
  int code;
  bool big_endian, keep, in_arena;
  long long stride[3];
  int lo[3], hi[3];
  double scale, shift;
  float low, high, padding;
};

__device__ __forceinline__ Record read_record(const long long* words) {
  Record r;
  r.start = words[0];
  r.code = (int)(words[1] & 0xff);
  r.big_endian = (words[1] >> 8) & 1;
  r.keep = (words[1] >> 9) & 1;
  r.in_arena = (words[1] >> 10) & 1;
  for (int axis = 0; axis < 3; ++axis) {
    r.stride[axis] = words[2 + axis];
    r.lo[axis] = (int)words[5 + axis];
    r.hi[axis] = (int)words[8 + axis];
  }
  r.scale = __longlong_as_double(words[11]);
  r.shift = __longlong_as_double(words[12]);
  r.low = __uint_as_float((unsigned int)(words[13] & 0xffffffffLL));
  r.high = __uint_as_float((unsigned int)((unsigned long long)words[13] >> 32));
  r.padding = __uint_as_float((unsigned int)(words[14] & 0xffffffffLL));
  return r;
}
