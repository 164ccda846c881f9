"""Test the program for compute-sanitizer with emulated kernels."""

import inspect

import pytest

from dali_cr.ops import swap
from tests.cuda_on_cpu.host import HostCuda
from tests.manual import every_kernel
from tests.ops.test_nvrtc import variants


def test_all_kernels_are_right(cuda_on_cpu: HostCuda) -> None:
    assert every_kernel.main() == 0


def test_a_wrong_kernel_is_noticed(cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "swap_in_place", lambda array, swaps: None)
    assert every_kernel.main() == 1


def test_every_kernel_is_included() -> None:
    text = inspect.getsource(every_kernel)
    for entry in sorted({variant[0] for variant in variants()}):
        assert f"try_{entry.partition('_')[0]}" in text, entry
