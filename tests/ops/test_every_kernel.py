"""Test the program for compute-sanitizer with emulated kernels."""

from pathlib import Path

import pytest

from benchmarks import kernels
from dali_cr.ops import swap
from tests.cuda_on_cpu.host import HostCuda
from tests.manual import every_kernel
from tests.ops.test_nvrtc import ops

ROOT = Path(__file__).resolve().parents[2]


def test_all_kernels_are_right(cuda_on_cpu: HostCuda) -> None:
    assert every_kernel.main() == 0


def test_a_wrong_kernel_is_noticed(cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "swap_in_place", lambda array, swaps: None)
    assert every_kernel.main() == 1


@pytest.mark.parametrize("name", ops())
def test_an_operation_has_one_name_everywhere(name: str) -> None:
    kernel, test = ROOT / "kernels" / f"{name}.cu", ROOT / "tests" / "ops" / f"test_{name}.py"
    assert {variant[1][-1] for variant in ops()[name].VARIANTS} == {kernel.name}
    assert kernel.is_file()
    assert test.is_file()
    assert f"`{kernel.name}`" in (ROOT / "kernels" / "README.md").read_text()
    assert name in kernels.OPS
    assert f"try_{name}" in {trial.__name__ for trial in every_kernel.TRIALS}


def test_the_folder_of_operations_holds_nothing_else() -> None:
    modules = {path.stem for path in (ROOT / "dali_cr" / "ops").glob("*.py")} - {"__init__"}
    assert modules <= set(ops())
