"""Test the emulation of CUDA on the CPU: its results, and the faults in kernels that it must report."""

import numpy as np
import pytest

from tests.cuda_on_cpu.host import ORDERS, HostCuda, KernelError, compiler, host_kernel_from_text

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

REVERSE = """
extern "C" __global__ void __launch_bounds__(64) reverse(const int* __restrict__ in, int* __restrict__ out, int n) {
    __shared__ int tile[64];
    if (threadIdx.x < n) tile[threadIdx.x] = in[blockIdx.x * n + threadIdx.x];
    BARRIER;
    if (threadIdx.x < n) out[blockIdx.x * n + threadIdx.x] = tile[n - 1 - threadIdx.x];
}
"""


def scalar_kernel(declaration):
    return host_kernel_from_text(
        "store", f'extern "C" __global__ void store(double* out, {declaration} value) {{ out[0] = value; }}'
    )


@pytest.mark.parametrize("order", ORDERS)
def test_barrier_separates_phases_in_every_order(order):
    rows = np.arange(7 * 37, dtype=np.int32).reshape(7, 37)
    out = np.empty_like(rows)
    kernel = host_kernel_from_text("reverse", REVERSE.replace("BARRIER", "__syncthreads()"), order)
    kernel((7,), (64,), (rows, out, np.int32(37)))
    np.testing.assert_array_equal(out, rows[:, ::-1])


def test_many_barriers_keep_each_thread_its_own_values():
    text = """
    extern "C" __global__ void rotate(int* ring, const int rounds) {
        int carried = threadIdx.x;
        for (int i = 0; i < rounds; ++i) {
            const int next = ring[(threadIdx.x + 1) % blockDim.x];
            __syncthreads();
            ring[threadIdx.x] = next;
            carried += 1;
            __syncthreads();
        }
        ring[threadIdx.x] = ring[threadIdx.x] * 1000 + carried;
    }
    """
    for order in ORDERS:
        ring = np.arange(256, dtype=np.int32)
        host_kernel_from_text("rotate", text, order)((1,), (256,), (ring, np.int32(100)))
        threads = np.arange(256)
        np.testing.assert_array_equal(ring, (threads + 100) % 256 * 1000 + threads + 100)


def test_missing_barrier_shows_as_a_result_that_depends_on_the_order():
    rows = np.arange(1, 65, dtype=np.int32)
    results = set()
    for order in ORDERS:
        out = np.empty_like(rows)
        host_kernel_from_text("reverse", REVERSE.replace("BARRIER", ""), order)((1,), (64,), (rows, out, np.int32(64)))
        results.add(out.tobytes())
    assert len(results) > 1


def test_blocks_run_in_the_order_too():
    text = 'extern "C" __global__ void last(unsigned int* out) { out[0] = blockIdx.y * gridDim.x + blockIdx.x; }'
    found = []
    for order in ORDERS[:2]:
        out = np.zeros(1, np.uint32)
        host_kernel_from_text("last", text, order)((3, 5), (1,), (out,))
        found.append(int(out[0]))
    assert found == [14, 0]


def test_shared_memory_holds_a_sentinel_at_the_start_of_every_block():
    text = """
    extern "C" __global__ void peek(unsigned int* out) {
        __shared__ unsigned int word;
        out[blockIdx.x] = word;
        word = 7;
    }
    """
    out = np.zeros(3, np.uint32)
    host_kernel_from_text("peek", text)((3,), (1,), (out,))
    np.testing.assert_array_equal(out, 0xA5A5A5A5)


def test_index_variables_cover_three_axes():
    text = """
    extern "C" __global__ void count(int* hits) {
        const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
        const int z = blockIdx.z * blockDim.z + threadIdx.z;
        atomicAdd(&hits[(z * gridDim.y * blockDim.y + y) * gridDim.x * blockDim.x + x], 1);
    }
    """
    hits = np.zeros((2 * 2, 3 * 4, 5 * 8), np.int32)
    host_kernel_from_text("count", text)((5, 3, 2), (8, 4, 2), (hits,))
    assert (hits == 1).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 3) __syncthreads();", "have returned"),
        ("if (threadIdx.x < 3) {\n__syncthreads();\n} else {\n__syncthreads();\n}", "wait in line"),
        ("if (threadIdx.x == 5) __trap();", r"__trap\(\) in thread \(5, 0, 0\) of block \(1, 0, 0\)"),
        ("out[0] = *(const int*)((const char*)out + 2);", "misaligned"),
        ("out[0] = *(const int*)(0 * (unsigned long long)threadIdx.x);", "null"),
        ("const int most = 2147483647 - out[0]; out[0] = most + (int)threadIdx.x;", "sum overflows"),
        ("out[0] = (out[0] + 65536) * ((int)threadIdx.x + 65536);", "product overflows"),
        ("__shared__ int t[4]; t[threadIdx.x] = 1; out[0] = t[out[0]];", "outside its array"),
        ("out[0] = 1 << (32 + threadIdx.x);", "shift"),
        ("out[0] = 1 / (int)(threadIdx.x - 1);", "division"),
    ],
)
def test_faults_that_stop_a_gpu_are_errors_with_their_place(body, message):
    text = f'#line 1 "bad.cu"\nextern "C" __global__ void bad(int* out) {{\nif (blockIdx.x == 0) return;\n{body}\n}}'
    out = np.zeros(8, np.int32)
    kernel = host_kernel_from_text("bad", text)
    for _ in range(2):  # the second run shows that an error leaves no state
        with pytest.raises(KernelError, match=message) as caught:
            kernel((2,), (8,), (out[:],))
        assert "bad.cu:" in str(caught.value)


@pytest.mark.parametrize(
    ("declaration", "good"),
    [
        ("float", np.float32(1.5)),
        ("const double", np.float64(1.5)),
        ("int", np.int32(-3)),
        ("unsigned long long", np.uint64(2**40)),
        ("bool", np.bool_(True)),
        ("short", np.int16(-3)),
    ],
)
def test_scalars_need_the_declared_type(declaration, good):
    out = np.zeros(1)
    kernel = scalar_kernel(declaration)
    kernel((1,), (1,), (out, good))
    assert out[0] == good
    widths = (np.float32, np.float64, np.int32, np.int64, np.uint64, np.bool_, np.int16, int, float, bool)
    others = [width(0) for width in widths]
    for bad in (other for other in others if type(other) is not type(good)):
        with pytest.raises(TypeError, match="kernel argument 1"):
            kernel((1,), (1,), (out, bad))


def test_arrays_need_the_declared_width_and_alignment():
    kernel = host_kernel_from_text("touch", 'extern "C" __global__ void touch(const unsigned int* words) {}')
    kernel((1,), (1,), (np.zeros(4, np.float32),))
    for bad in (np.zeros(4), np.zeros(4, np.uint8), np.uint32(0), np.uint64(4096), 17, [1, 2]):
        with pytest.raises(TypeError, match="kernel argument 0"):
            kernel((1,), (1,), (bad,))
    kernel((1,), (1,), (np.uint64(0),))  # a null pointer, as for CuPy
    with pytest.raises(KernelError, match="alignment"):
        kernel((1,), (1,), (np.zeros(17, np.uint8)[1:].view(np.uint32),))


def test_launch_limits():
    kernel = host_kernel_from_text("reverse", REVERSE.replace("BARRIER", "__syncthreads()"))
    rows = np.zeros(64, np.int32)
    for grid, block in [((1,), (65,)), ((0,), (64,)), ((1, 65536), (64,)), ((1,), (1, 1, 65))]:
        with pytest.raises(ValueError, match="threads a block|outside"):
            kernel(grid, block, (rows, rows, np.int32(64)))
    with pytest.raises(TypeError, match="takes 3 arguments, not 2"):
        kernel((1,), (64,), (rows, rows))


def test_text_that_does_not_compile_shows_the_compiler_log():
    with pytest.raises(KernelError, match="broken.cu:2.*undeclared_name"):
        host_kernel_from_text("bad", '#line 1 "broken.cu"\nextern "C" __global__ void bad() {\nundeclared_name = 1; }')
    with pytest.raises(KernelError, match="named other"):
        host_kernel_from_text("other", 'extern "C" __global__ void bad(int* out) {}')


def test_multiply_add_is_not_fused_and_float32_subnormals_are_flushed():
    text = """
    extern "C" __global__ void mix(const double* in, double* out, float* narrow) {
        out[0] = __dadd_rn(__dmul_rn(in[0], in[0]), in[1]);
        out[1] = in[0] * in[0] + in[1];
        narrow[0] = __double2float_rn(in[2]);
        narrow[1] = __fmul_rn(__uint_as_float(0x00800000u), 0.5f);
        narrow[2] = fmaxf(__uint_as_float(0x7fc00000u), -2.0f);
    }
    """
    x = 1 + 2.0**-30
    values = np.array([x, -(1 + 2.0**-29), -1e-40])
    out, narrow = np.empty(2), np.empty(3, np.float32)
    host_kernel_from_text("mix", text)((1,), (1,), (values, out, narrow))
    np.testing.assert_array_equal(out, x * x + values[1])
    assert narrow.view(np.uint32).tolist() == [0x80000000, 0, np.float32(-2).view(np.uint32)]


def test_byte_permutation_and_bit_counts():
    text = """
    extern "C" __global__ void bits(unsigned int* out, const unsigned int a, const unsigned int b) {
        out[0] = __byte_perm(a, b, 0x0123);
        out[1] = __byte_perm(a, b, 0x7654);
        out[2] = __byte_perm(a, b, 0x888b);
        out[3] = __popc(a) * 10000 + __clz(a) * 100 + __ffs(a);
        out[4] = __umulhi(a, b);
    }
    """
    a, b = 0x81020304, 0xF0E0D0C0
    out = np.zeros(5, np.uint32)
    host_kernel_from_text("bits", text)((1,), (1,), (out, np.uint32(a), np.uint32(b)))
    assert out.tolist() == [0x04030281, b, 0x000000FF, 6 * 10000 + 3, a * b >> 32]


def test_new_arrays_are_poisoned_and_their_edges_guarded(monkeypatch):
    cuda = HostCuda()
    assert np.isnan(cuda.arrays.empty((2, 3), np.float32)).all()
    assert (cuda.arrays.empty_like(np.zeros(3, np.int16)).view(np.uint8) == 0xA5).all()
    text = 'extern "C" __global__ void spill(int* out, const int at) { out[at] = 1; }'
    monkeypatch.setattr("tests.cuda_on_cpu.host.specialised_source", lambda sources, defines: text)
    out = cuda.arrays.empty(5, np.int32)
    assert out.ctypes.data % 256 == 0
    cuda.kernel("spill")((1,), (1,), (out, np.int32(4)))
    for outside in (-1, 5):
        with pytest.raises(KernelError, match="outside an array of 20 bytes"):
            cuda.kernel("spill")((1,), (1,), (out, np.int32(outside)))


def test_fixture_puts_the_emulation_under_the_ops(cuda_on_cpu):
    from dali_cr.ops.gpu import launch

    assert launch.array_module() is cuda_on_cpu.arrays
    assert launch.kernel == cuda_on_cpu.kernel
