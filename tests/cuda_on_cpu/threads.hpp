// CUDA's grid, blocks, threads and barriers on one CPU thread.
//
// Every thread of a block is a fiber. A fiber runs until its next barrier or its end; the launcher then resumes the
// next one, in an order that the caller chooses, so that a kernel that needs a barrier it does not have gives another
// result in another order. Errors (a trap, a barrier that part of the block never reaches, undefined behaviour that the
// compiler's sanitizer sees) leave the fiber for good and come out of `launch` as a message.
//
// Fibers are made once with ucontext and then switched with _setjmp/_longjmp, which cost no system call.
#pragma once

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <type_traits>
#include <utility>
#include <vector>

#include "vectors.hpp"

// The bounds of the section that holds every __shared__ variable; null where a kernel has none.
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace cuda_on_cpu {

uint3 thread_index, block_index;
dim3 block_shape, grid_shape;

constexpr size_t stack_bytes = 128 * 1024;
constexpr int shared_sentinel = 0xA5;

struct Fiber {
  ucontext_t start;
  jmp_buf resume;
  bool started = false, finished = false;
  const char* file = nullptr;
  int line = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  char* stacks = nullptr;
  Fiber* current = nullptr;
  jmp_buf scheduler;
  void (*body)() = nullptr;
  char error[512] = "";
};
Block block;

// Values that live in shared memory must be read again after a switch.
inline void forget_registers() { asm volatile("" ::: "memory"); }

[[noreturn]] inline void leave() { _longjmp(block.scheduler, 1); }

[[noreturn]] __attribute__((noinline)) void fault(const char* file, int line, const char* what) {
  snprintf(block.error, sizeof block.error, "%s:%d: %s in thread (%u, %u, %u) of block (%u, %u, %u)", file, line, what,
           thread_index.x, thread_index.y, thread_index.z, block_index.x, block_index.y, block_index.z);
  leave();
}

__attribute__((noinline)) void barrier(const char* file, int line) {
  forget_registers();
  block.current->file = file;
  block.current->line = line;
  if (_setjmp(block.current->resume) == 0) leave();
  forget_registers();
}

inline void live() {
  for (;;) {
    block.body();
    block.current->finished = true;
    if (_setjmp(block.current->resume) == 0) leave();
  }
}

__attribute__((noinline)) void resume(size_t number) {
  block.current = &block.fibers[number];
  thread_index.x = number % block_shape.x;
  thread_index.y = number / block_shape.x % block_shape.y;
  thread_index.z = number / block_shape.x / block_shape.y;
  if (_setjmp(block.scheduler) != 0) return;
  if (block.current->started) _longjmp(block.current->resume, 1);
  block.current->started = true;
  setcontext(&block.current->start);
}

inline bool make_fibers(size_t count) {
  block.fibers = std::vector<Fiber>(count);
  const size_t bytes = 1024 * stack_bytes;
  if (block.stacks == nullptr) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    block.stacks = static_cast<char*>(memory);
  }
  for (size_t i = 0; i < count; ++i) {
    ucontext_t& start = block.fibers[i].start;
    getcontext(&start);
    start.uc_stack.ss_sp = block.stacks + i * stack_bytes;
    start.uc_stack.ss_size = stack_bytes;
    makecontext(&start, live, 0);
  }
  return true;
}

// Order 0 is forward, 1 is reverse, any other number seeds a new shuffle for every use.
class Order {
 public:
  Order(size_t count, long long kind) : numbers(count), kind(kind), random(kind) {
    for (size_t i = 0; i < count; ++i) numbers[i] = kind == 1 ? count - 1 - i : i;
  }
  const std::vector<size_t>& next() {
    for (size_t i = kind > 1 ? numbers.size() : 0; i > 1; --i) {
      random = random * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
      std::swap(numbers[i - 1], numbers[(random >> 33) % i]);
    }
    return numbers;
  }

 private:
  std::vector<size_t> numbers;
  long long kind;
  uint64_t random;
};

// Whether all fibers have finished; a barrier must be reached by the whole block, from one place in the text.
inline bool finished_together() {
  const Fiber *waiting = nullptr, *other = nullptr;
  for (const Fiber& fiber : block.fibers)
    if (!fiber.finished) waiting = &fiber;
  if (waiting == nullptr) return true;
  for (const Fiber& fiber : block.fibers)
    if (fiber.finished || fiber.line != waiting->line || strcmp(fiber.file, waiting->file) != 0) other = &fiber;
  if (other == nullptr) return false;
  char place[64] = "have returned";
  if (!other->finished) snprintf(place, sizeof place, "wait in line %d", other->line);
  snprintf(block.error, sizeof block.error,
           "%s:%d: some threads of block (%u, %u, %u) wait at this barrier while others %s: a GPU may hang here",
           waiting->file, waiting->line, block_index.x, block_index.y, block_index.z, place);
  return false;
}

inline void run_block(Order& order) {
  if (__start_cuda_shared != nullptr)
    memset(__start_cuda_shared, shared_sentinel, __stop_cuda_shared - __start_cuda_shared);
  for (Fiber& fiber : block.fibers) fiber.finished = false;
  do {
    for (size_t number : order.next()) {
      if (!block.fibers[number].finished) resume(number);
      if (block.error[0]) return;
    }
  } while (!finished_together() && !block.error[0]);
}

// Run the body once per thread of the grid; the result is an error message, empty if all went well.
inline const char* launch(const unsigned int grid[3], const unsigned int shape[3], long long order, void (*body)()) {
  grid_shape = dim3(grid[0], grid[1], grid[2]);
  block_shape = dim3(shape[0], shape[1], shape[2]);
  block.body = body;
  block.error[0] = 0;
  if (!make_fibers(static_cast<size_t>(shape[0]) * shape[1] * shape[2])) return "no memory for the threads' stacks";
  Order blocks(static_cast<size_t>(grid[0]) * grid[1] * grid[2], order);
  Order threads(block.fibers.size(), order);
  for (size_t number : blocks.next()) {
    block_index.x = number % grid_shape.x;
    block_index.y = number / grid_shape.x % grid_shape.y;
    block_index.z = number / grid_shape.x / grid_shape.y;
    run_block(threads);
    if (block.error[0]) break;
  }
  return block.error;
}

// What a kernel's parameter is: a scalar's kind letter as NumPy has it, 'p' for a pointer to scalars, 's' for one to
// structs.
struct Parameter {
  char kind;
  int size, alignment;
};

template <typename T>
constexpr char scalar_kind() {
  if (std::is_same_v<T, bool>) return 'b';
  if (std::is_floating_point_v<T>) return 'f';
  if (std::is_integral_v<T>) return std::is_signed_v<T> ? 'i' : 'u';
  return '?';
}

template <typename T>
constexpr Parameter describe() {
  if constexpr (std::is_pointer_v<T>) {
    using Element = std::remove_cv_t<std::remove_pointer_t<T>>;
    return {std::is_arithmetic_v<Element> ? 'p' : 's', sizeof(Element), alignof(Element)};
  } else {
    return {scalar_kind<T>(), sizeof(T), alignof(T)};
  }
}

void** arguments;

template <auto kernel, typename... P, size_t... I>
void call(void (*)(P...), std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
}

template <auto kernel, typename... P>
void call(void (*signature)(P...)) {
  call<kernel>(signature, std::index_sequence_for<P...>());
}

template <typename... P>
int describe_all(void (*)(P...), Parameter* out) {
  const Parameter all[] = {describe<P>()..., {}};
  memcpy(out, all, sizeof...(P) * sizeof(Parameter));
  return sizeof...(P);
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_ENTRY(kernel, launch_bound)                                                                    \
  extern "C" int cuda_on_cpu_thread_limit() { return launch_bound; }                                               \
  extern "C" int cuda_on_cpu_parameters(cuda_on_cpu::Parameter* out) {                                             \
    return cuda_on_cpu::describe_all(&kernel, out);                                                                \
  }                                                                                                                \
  extern "C" const char* cuda_on_cpu_launch(const unsigned int* grid, const unsigned int* block, void** arguments, \
                                            long long order) {                                                     \
    cuda_on_cpu::arguments = arguments;                                                                            \
    return cuda_on_cpu::launch(grid, block, order, [] { cuda_on_cpu::call<&kernel>(&kernel); });                   \
  }

// GCC's and clang's sanitizer calls these in place of its own run-time library, which would only print.
#define CUDA_ON_CPU_UNDEFINED(name, what)                                         \
  extern "C" void __ubsan_handle_##name##_abort(cuda_on_cpu::Place* place, ...) { \
    cuda_on_cpu::fault(place->file, static_cast<int>(place->line), what);         \
  }
namespace cuda_on_cpu {
struct Place {
  const char* file;
  uint32_t line, column;
};
}  // namespace cuda_on_cpu
CUDA_ON_CPU_UNDEFINED(type_mismatch_v1, "a null or misaligned pointer is followed")
CUDA_ON_CPU_UNDEFINED(pointer_overflow, "pointer arithmetic overflows")
CUDA_ON_CPU_UNDEFINED(out_of_bounds, "an index is outside its array")
CUDA_ON_CPU_UNDEFINED(add_overflow, "a signed sum overflows")
CUDA_ON_CPU_UNDEFINED(sub_overflow, "a signed difference overflows")
CUDA_ON_CPU_UNDEFINED(mul_overflow, "a signed product overflows")
CUDA_ON_CPU_UNDEFINED(negate_overflow, "a signed negation overflows")
CUDA_ON_CPU_UNDEFINED(shift_out_of_bounds, "a shift is as wide as its operand, or wider, or negative")
CUDA_ON_CPU_UNDEFINED(divrem_overflow, "a division by zero, or one that overflows")
