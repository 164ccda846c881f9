"""Test that every variant of every kernel compiles with the installed NVRTC, without a GPU."""

import ctypes
import importlib
import importlib.metadata
import pkgutil
import re
from pathlib import Path

import pytest

import dali_cr.ops
from dali_cr.ops.gpu import launch

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
ARCHITECTURES = (70, 75, 80, 86, 89, 90, 100, 120)
"""Volta to Blackwell; NVRTC 13 lacks 70, NVRTC before 12.8 lacks 100 and 120."""

OLD_GPU = "Architectures prior to '<compute/sm>_75' are deprecated"
"""Warning of NVRTC 12.9 for Volta with any kernel, which compiles nevertheless."""

DISTRIBUTIONS = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")
# CuPy's options, and a report of ptxas on registers, spills and local memory.
OPTIONS = (
    "-ftz=true",
    *launch.OPTIONS,
    "--ptxas-options=--warn-on-spills",
    "--ptxas-options=--warn-on-local-memory-usage",
)


def ops():
    """Return the modules with kernels by the names of their operations, as "gamma" and "draw_swaps"."""
    found = [one.name for one in pkgutil.walk_packages(dali_cr.ops.__path__, "dali_cr.ops.")]
    modules = {name.removeprefix("dali_cr.ops.").replace(".", "_"): importlib.import_module(name) for name in found}
    return {name: module for name, module in modules.items() if hasattr(module, "VARIANTS")}


def variants():
    return [variant for module in ops().values() for variant in module.VARIANTS]


def name_of(variant):
    entry, _, defines = variant
    return "-".join([entry, *(value.replace(" ", "_") for _, value in defines if value)])


def installed_libraries():
    found = []
    for distribution in DISTRIBUTIONS:
        try:
            files = importlib.metadata.files(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found += [Path(file.locate()) for file in files if re.fullmatch(r"libnvrtc\.so\.\d+", file.name)]
    return found


class Nvrtc:
    """Calls of NVRTC's C interface that compile a source to a cubin."""

    def __init__(self, path):
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)  # some builds do not search their own folder
        self.library = ctypes.CDLL(str(path))
        count = ctypes.c_int()
        self.call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        supported = (ctypes.c_int * count.value)()
        self.call("nvrtcGetSupportedArchs", supported)
        self.architectures = [architecture for architecture in ARCHITECTURES if architecture in supported]

    def call(self, function, *arguments):
        if status := getattr(self.library, function)(*arguments):
            raise RuntimeError(f"{function} returned {status}")

    def compile(self, text, architecture):
        """Return the size of the cubin, 0 if there is none, and the log.

        The source must be ASCII, because CuPy writes it to a file in the locale's encoding.
        """
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.call("nvrtcCreateProgram", ctypes.byref(program), text.encode("ascii"), b"kernel.cu", 0, None, None)
        options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture=sm_{architecture}")]
        failed = self.library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        self.call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call("nvrtcGetProgramLog", program, buffer)
        log = "".join(line for line in buffer.value.decode().splitlines(keepends=True) if OLD_GPU not in line)
        if not failed:
            self.call("nvrtcGetCUBINSize", program, ctypes.byref(size))
        self.call("nvrtcDestroyProgram", ctypes.byref(program))
        return 0 if failed else size.value, log


@pytest.fixture(scope="module", params=installed_libraries() or [None], ids=lambda path: path.name if path else "none")
def nvrtc(request):
    if request.param is None:
        pytest.skip("needs NVRTC, which the extras cu12 and cu13 bring")
    return Nvrtc(request.param)


VARIANTS = variants()


@pytest.mark.parametrize("number", range(len(VARIANTS)), ids=[name_of(variant) for variant in VARIANTS])
def test_compiles_without_warnings(nvrtc, number):
    """For the oldest and the newest architecture, and one of the others in turn."""
    entry, sources, defines = VARIANTS[number]
    text = launch.specialised_source(sources, defines)
    assert re.search(rf'extern "C" __global__ [^;{{]*\b{entry}\(', text)
    # Only the code for Volta differs.
    assert set(re.findall(r"__CUDA_ARCH__ \S+ \d+", text)) <= {"__CUDA_ARCH__ < 750"}
    oldest, *others, newest = nvrtc.architectures
    for architecture in (oldest, others[number % len(others)], newest):
        size, log = nvrtc.compile(text, architecture)
        assert (log, size > 0) == ("", True), f"sm_{architecture}"


def test_warnings_spills_and_errors_would_be_noticed(nvrtc):
    newest = nvrtc.architectures[-1]
    kernel = 'extern "C" __global__ void k(float* a, int n) {{ {} }}'
    assert "never referenced" in nvrtc.compile(kernel.format("int idle;"), newest)[1]
    spilling = "float x[99]; for (int i = 0; i < 99; ++i) x[i] = a[i * n]; while (--n) a[n] = x[(int)a[n]];"
    assert "Local memory used" in nvrtc.compile(kernel.format(spilling), newest)[1]
    size, log = nvrtc.compile(kernel.format("a[0] = nowhere;"), newest)
    assert size == 0
    assert "nowhere" in log


def test_at_least_five_generations_are_compiled_for(nvrtc):
    assert len(nvrtc.architectures) >= 5


def test_every_kernel_file_and_entry_is_used_by_an_op():
    files = sorted(KERNELS.glob("*.cu*"))
    assert {source for _, sources, _ in variants() for source in sources} == {path.name for path in files}
    text = re.sub(r"__launch_bounds__\(\d+\)", "", "".join(path.read_text() for path in files))
    entries = re.findall(r'extern "C" __global__ [^;{]*?(\w+)\(', text)
    assert {entry for entry, _, _ in variants()} == set(entries)
