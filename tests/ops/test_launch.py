"""Test the interface between operations and CUDA: sources of kernels, and the error without CuPy."""

import sys
import types

import pytest

from dali_cr.ops.gpu import launch


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    (tmp_path / "shared.cuh").write_text("// shared\n")
    (tmp_path / "op.cu").write_text("// op\n")
    monkeypatch.setattr(launch, "_SOURCE_FOLDERS", (tmp_path / "nowhere", tmp_path))
    launch._compiled.cache_clear()
    yield tmp_path
    launch._compiled.cache_clear()


def test_sources_follow_each_other_and_keep_their_line_numbers(kernels):
    assert launch.cuda_source("shared.cuh", "op.cu") == '#line 1 "shared.cuh"\n// shared\n\n#line 1 "op.cu"\n// op\n\n'
    text = launch.specialised_source(("op.cu",), (("ELEMENT", "unsigned int"), ("STORE", "")))
    assert text.startswith('#define ELEMENT unsigned int\n#define STORE \n#line 1 "op.cu"\n')


def test_a_missing_file_or_folder_is_named(kernels, monkeypatch):
    with pytest.raises(FileNotFoundError, match="other.cu"):
        launch.cuda_source("other.cu")
    monkeypatch.setattr(launch, "_SOURCE_FOLDERS", (kernels / "nowhere",))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        launch.cuda_source("op.cu")


def test_without_cupy_the_error_names_the_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"pip install \"\.\[cu13\]\".*\"\.\[cu12\]\""):
        launch.array_module()


def test_a_kernel_is_compiled_once_per_device_entry_and_defines(kernels, monkeypatch):
    built = []

    class Module:
        def __init__(self, code, options):
            built.append((code, options))

        def get_function(self, entry):
            return f"{entry} of module {len(built)}"

    device = types.SimpleNamespace(id=0)
    fake = types.SimpleNamespace(RawModule=Module, cuda=types.SimpleNamespace(Device=lambda: device))
    monkeypatch.setattr(launch, "array_module", lambda: fake)
    first = launch.kernel("op", "op.cu", defines=(("T", "int"),))
    assert launch.kernel("op", "op.cu", defines=(("T", "int"),)) is first
    assert built == [('#define T int\n#line 1 "op.cu"\n// op\n\n', ("--std=c++17",))]
    assert launch.kernel("op", "op.cu", defines=(("T", "float"),)) != first
    device.id = 1
    assert launch.kernel("op", "op.cu", defines=(("T", "int"),)) != first
    assert len(built) == 3


@pytest.mark.gpu
def test_a_compiler_error_shows_the_log_with_the_place(kernels):
    (kernels / "bad.cu").write_text('extern "C" __global__ void bad(int* out) {\n  out[0] = undeclared_name;\n}\n')
    with pytest.raises(Exception, match=r"bad\.cu.*\n?.*undeclared_name"):
        launch.kernel("bad", "bad.cu")


@pytest.mark.gpu
def test_a_kernel_runs_with_the_arguments_it_was_given(kernels):
    (kernels / "fill.cu").write_text('extern "C" __global__ void fill(T* out, T value) { out[threadIdx.x] = value; }\n')
    xp = launch.array_module()
    out = xp.zeros(7, xp.float32)
    launch.kernel("fill", "fill.cu", defines=(("T", "float"),))((1,), (7,), (out, xp.float32(2.5)))
    assert out.get().tolist() == [2.5] * 7
