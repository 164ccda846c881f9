"""Define fixtures for all tests, seeds, and the marker `gpu`."""

from __future__ import annotations

import gc
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import dali_cr
from dali_cr.ops.gpu import launch
from tests.cuda_on_cpu import host
from tests.helpers import recipes
from tests.helpers.volumes import ORIENTATIONS, write_nifti

settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # it depends on time
)
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False, print_blob=True)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Allow crops larger than the small volumes of tests; tests of this warning expect it."""
    config.addinivalue_line("filterwarnings", "ignore::dali_cr.DataWarning")


_SLOW = (
    "tests/train/run/test_ranks.py",
    "tests/package/test_commands.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/train/test_pretrain.py",
    "tests/ops/test_nvrtc.py",
    "tests/train/run/test_computation.py",
    "tests/train/study/test_study.py",
    "tests/train/test_finetune.py",
    "tests/benchmarks/test_storage.py",
    "tests/system/test_forks.py",
    "tests/integration/test_integration.py",
    "tests/read/test_cache.py",
)
"""Files of few slow tests, which start first: at the end, one process would run them while the other is idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the slow files to the front; the order of the others is kept."""
    order = {name: place for place, name in enumerate(_SLOW)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exclude the modules and the tests from garbage collection, which is slow with so many objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed the global generators before each test, and skip tests that need a GPU if there is none.

    A test then draws the same numbers, independent of earlier tests in the process. With ``-m gpu``, tests that need a
    GPU are run in any case.
    """
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    asked_for = "gpu" in item.config.option.markexpr
    if item.get_closest_marker("gpu") and not asked_for and shutil.which("nvidia-smi") is None:
        pytest.skip("needs a GPU")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread in a module's tests, because several test processes share the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small labelled volumes and a split: see `tests.helpers.finetuning.write_data`. No test writes into the folder."""
    from tests.helpers.finetuning import write_data

    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def cuda_on_cpu(monkeypatch: pytest.MonkeyPatch) -> host.HostCuda:
    """Run the CUDA sources of kernels on the CPU; `cuda_on_cpu.order` sets the order of threads."""
    if host.compiler() is None:
        pytest.skip("needs a C++ compiler")
    emulation = host.HostCuda()
    monkeypatch.setattr(launch, "array_module", lambda: emulation.arrays)
    monkeypatch.setattr(launch, "kernel", emulation.kernel)
    return emulation


@pytest.fixture(params=["cpu", "emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def each_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make `tests.helpers.recipes.loader` create loaders for a CPU, an emulated GPU or a GPU."""
    kind: str = request.param
    if kind == "emulated":
        request.getfixturevalue("cuda_on_cpu")
        monkeypatch.setattr("dali_cr.loader.make_source", recipes.emulated_source)
    monkeypatch.setitem(recipes.OPTIONS, "device", "cuda" if kind == "cuda" else "cpu")
    return kind


@pytest.fixture(scope="session")
def mixed_index(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return an index of small volumes of many shapes, dtypes, byte orders, orientations and spacings, one with NaN."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for i, dtype in enumerate(("<i2", ">u2", "|u1", "<f4", ">f8", "<i4", ">i2", "|i1", "<f4", ">u4", "<i8")):
        shape = tuple(int(n) for n in rng.integers(14, 40, 3))
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        inside = (grid**2).sum(0) < 0.9
        numbers = np.where(inside, 60 + 40 * np.sin(4 * grid.sum(0)) + rng.normal(0, 5, shape), 0)
        if dtype == ">f8":
            numbers[3:5, 3:5, 3:5] = np.nan
        write_nifti(
            folder / f"{i:02}.nii{'.gz' * (i % 3 > 0)}",
            np.clip(numbers, 0, 120) if dtype[1] in "ui" else numbers,
            orientation=ORIENTATIONS[(7 * i) % 48],
            dtype=dtype,
            slope=None if i % 2 else 0.25,
            intercept=-3.0,
        )
    return dali_cr.scan(folder, progress=False)


@pytest.fixture(scope="session")
def channel_index(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return an index of cases of two channels: two files, or one 4-D file in another folder."""
    folder = tmp_path_factory.mktemp("channels")
    rng = np.random.default_rng(1)
    for i in range(4):
        shape = tuple(int(n) for n in rng.integers(14, 30, 3))
        for name, dtype in (("a", "<i2"), ("b", ">f4")):
            write_nifti(folder / f"p{i}" / f"{name}.nii.gz", rng.integers(0, 300, shape), dtype=dtype)
    return dali_cr.scan(folder, "{case}/{channel}.nii.gz", progress=False)
