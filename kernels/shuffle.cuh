// A Fisher-Yates shuffle by one thread per element; concatenated in front of the kernels that use it.
//
// The exchanges are stored in the output, in the words of the boxes that are drawn afterwards.

// Return where the exchange of a step is stored: PER exchanges in the 9 words of a box or a pair of boxes.
template <int PER>
__device__ __forceinline__ int* slot(int* boxes, int turn) {
  return boxes + 9LL * (turn / PER) + 3 * (turn % PER);
}

// Return the element that step `turn` of a Fisher-Yates shuffle with `turns` steps puts at its position, by tracing it
// back through the earlier exchanges. All threads read the exchanges in the same order.
template <int PER>
__device__ __forceinline__ int shuffled(int* boxes, int turn, int turns) {
  int place = *slot<PER>(boxes, turn);
  for (int before = turns - 2; before >= 0; --before)
    if (before < turn && *slot<PER>(boxes, before) == place) place = before;
  return place;
}
