// Philox4x32-10: random words as a pure function of a counter and a key, as in dali_cr/rng.py.
//
// Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011. Concatenated in front of the
// kernels that draw random numbers.

struct Words {
  unsigned int a, b, c, d;
};

__device__ __forceinline__ Words philox(Words counter, unsigned long long key) {
  unsigned int low = (unsigned int)key, high = (unsigned int)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const unsigned int above = __umulhi(0xd2511f53u, counter.a), below = 0xd2511f53u * counter.a;
    counter.a = __umulhi(0xcd9e8d57u, counter.c) ^ counter.b ^ low;
    counter.b = 0xcd9e8d57u * counter.c;
    counter.c = above ^ counter.d ^ high;
    counter.d = below;
    low += 0x9e3779b9u;
    high += 0xbb67ae85u;
  }
  return counter;
}
