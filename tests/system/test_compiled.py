"""Test `compiled`: cached machine code, valid for unchanged sources, with the semantics of the source."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dali_cr.ops import decode, erase, gamma, noise, swap
from dali_cr.ops.cpu import convolve, elementary, interpolate
from dali_cr.system import compiled
from dali_cr.system.compiled import Compiled, cache_folder, source_key
from dali_cr.system.external import External, libc

ROOT = Path(__file__).resolve().parents[2]
MODULES: list[Any] = [
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "dali_cr").rglob("*.py"))
    if re.search(r"^@compiled$", path.read_text(), re.MULTILINE)
]
"""All modules with compiled functions."""

VOLUMES = np.zeros((2, 3, 4, 5, 6), np.float32)
LINES, ONES = VOLUMES.reshape(2, -1), np.ones(2, np.float32)
SWAPS = np.zeros((2, 1, 3, 3), np.int32)
SINGLE: list[tuple[Any, ...]] = [
    (swap.swap_line, VOLUMES.ravel().view(np.uint32), VOLUMES.shape[2:], SWAPS),
    (erase.erase_line, VOLUMES.ravel().view(np.uint32), VOLUMES.shape[2:], SWAPS, np.zeros(6, np.uint32)),
    (gamma._raise, LINES, ONES, LINES),
    (noise._add, LINES, ONES, np.uint64(0), np.zeros((2, 2), np.uint64)),
    (noise.pair_of, np.uint32(1), np.uint32(1)),
    (convolve.blur_axis, LINES[0], 4, 30, ONES),
    (convolve.sum_padded, LINES[0], 60, 1, ONES, LINES[1]),
    (interpolate._between, LINES[0], 3, LINES[1], 0),
    *((function, np.float32(1)) for function in (elementary.log2, elementary.exp2, elementary.quarter_sine)),
    *((function, np.float32(1)) for function in (elementary.flushed, elementary.half_bits, convolve.at_least)),
]
"""Functions without float64, with arguments."""

CALLEE = """
from dali_cr.system.compiled import compiled

STEP = {step}

@compiled
def moved(number):
    return number {sign} STEP
"""
CALLER = """
from callee import moved
from dali_cr.system.compiled import compiled

@compiled
def move(numbers):
    for i in range(numbers.size):
        numbers[i] = moved(numbers[i])
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set and return the cache folder of machine code."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return cache_folder()


def move(folder: Path, step: float = 1.0, sign: str = "+") -> tuple[float, bool]:
    """Write and import a function and its callee; return its result and whether its code was cached."""
    modules = {"callee": CALLEE.format(step=step, sign=sign), "caller": CALLER}
    with pytest.MonkeyPatch.context() as patch:
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
            spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module: Any = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            exec(compile(text, folder / f"{name}.py", "exec"), vars(module))  # without an outdated .pyc
    numbers = np.zeros(1)
    module.move(numbers)
    return float(numbers[0]), not module.move.dispatcher.stats.cache_misses


def test_an_edited_callee_or_constant_is_compiled_anew(tmp_path: Path, cache: Path) -> None:
    assert move(tmp_path) == (1.0, False)
    assert move(tmp_path) == (1.0, True)
    assert move(tmp_path, sign="-") == (-1.0, False)
    assert move(tmp_path, step=2.5, sign="-") == (-2.5, False)
    assert move(tmp_path) == (1.0, True)
    assert {file.suffix for file in cache.iterdir()} == {".code"}


def test_a_module_that_moved_is_compiled_anew() -> None:
    """Check it because machine code imports its module by name."""

    def function(x: float) -> float:
        return x

    before = source_key(function)  # type: ignore[arg-type]
    function.__module__ = "elsewhere"
    assert source_key(function) != before  # type: ignore[arg-type]


def test_a_damaged_file_is_compiled_anew(tmp_path: Path, cache: Path) -> None:
    move(tmp_path)
    whole = {file: file.read_bytes() for file in cache.iterdir()}
    damages: tuple[Callable[[bytes], bytes], ...] = (lambda b: b[:-9], lambda b: b"", lambda b: b[:50] + b"x" + b[51:])
    for damaged in damages:
        for file, content in whole.items():
            file.write_bytes(damaged(content))
        assert move(tmp_path) == (1.0, False)
        assert all(len(file.read_bytes()) > 999 for file in whole)
        assert move(tmp_path) == (1.0, True)


@pytest.mark.parametrize("made", [False, True])
def test_without_a_writable_folder(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, made: bool) -> None:
    """Test with a file in place of the folder, because permissions do not stop root."""
    if made:
        cache.parent.mkdir()
    (cache if made else cache.parent).write_text("")
    assert [move(tmp_path), move(tmp_path)] == [(1.0, False)] * 2
    (record,) = (record for record in caplog.records if record.name == "dali_cr.system.compiled")
    assert "machine code cannot be cached" in record.getMessage()
    assert str(cache) in record.getMessage()


def run(code: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the checkout, with a separate cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    kept |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=kept, capture_output=True, text=True)


def test_bounds_checks_catch_an_overrun_and_have_code_of_their_own(tmp_path: Path) -> None:
    """Check that a swap outside of the array raises an error with bounds checks."""
    code = """
        import numpy as np
        from dali_cr.ops.swap import swap_in_place_ref
        memory = np.arange(100, dtype=np.float32)
        swap_in_place_ref(memory[:8].reshape(2, 2, 2), np.array([[[0, 0, 0], [{z}, 0, 0], [1, 1, 2]]], np.int32))
        print(memory[:2].astype(int).tolist())
    """
    assert run(code.format(z=3), tmp_path).returncode == 0
    checked = run(code.format(z=3), tmp_path, NUMBA_BOUNDSCHECK="1")
    assert checked.returncode == 1
    assert "IndexError" in checked.stderr
    assert run(code.format(z=1), tmp_path, NUMBA_BOUNDSCHECK="1").stdout == "[4, 5]\n"


def test_numba_is_imported_at_the_first_call() -> None:
    code = """
        import sys, numpy as np, dali_cr, dali_cr.ops.swap, dali_cr.pipeline.sources.cpu, dali_cr.pipeline.multiview.cpu
        print("numba" in sys.modules)
        dali_cr.swap_patches(np.zeros((2, 2, 2)), [[[0, 0, 0], [1, 0, 0], [1, 1, 1]]])
        print("numba" in sys.modules)
    """
    done = run(code, cache_folder())
    assert done.stdout == "False\nTrue\n", done.stderr


def test_c_functions_are_found_by_code_from_the_cache(tmp_path: Path) -> None:
    """Check that each process resolves the addresses: the machine code has names of this project."""
    code = """
        import numpy as np
        from dali_cr.volume.packed.lz4 import decompress_by_c
        block, target = np.frombuffer(bytes([0x50]) + b"bytes", np.uint8).copy(), np.zeros(9, np.uint8)
        size = decompress_by_c(block, 0, 6, target, 2, 7)
        print(size, target.tobytes(), len(decompress_by_c.dispatcher.stats.cache_misses))
    """
    runs = [run(code, tmp_path).stdout for _ in range(2)]
    assert runs == [f"5 {bytes(2) + b'bytes' + bytes(2)} {misses}\n" for misses in (1, 0)]


def test_a_missing_c_function() -> None:
    function = External("no_such_function", libc, "int64", "int64")
    assert not function.exists()
    assert External("labs", libc, "int64", "int64")(-3) == 3
    assert not External("labs", lambda: ctypes.CDLL("no such library"), "int64").exists()


def test_the_key_covers_everything_that_a_function_uses() -> None:
    table = np.array([1, 2])

    def uses(numbers: Any) -> Any:
        return numbers + table[0]

    before = source_key(uses)  # type: ignore[arg-type]
    table[1] = 3
    assert source_key(uses) != before  # type: ignore[arg-type]

    def names_a_module() -> Any:
        return decode.RECORD_WORDS

    with pytest.raises(TypeError, match="decode of type module"):
        source_key(names_a_module)  # type: ignore[arg-type]


def functions() -> list[Compiled[Any]]:
    found = [value for module in MODULES for value in vars(module).values() if isinstance(value, Compiled)]
    return list({id(value): value for value in found}.values())


def test_every_compiled_function_has_a_key() -> None:
    assert len(functions()) > 2 * len(MODULES)
    for function in functions():
        assert source_key(function.function)


def code_of(function: Compiled[Any], *args: Any) -> str:
    """Return the LLVM instructions of a function for these arguments."""
    import numba

    dispatcher = numba.njit(**compiled.OPTIONS)(function.function)
    dispatcher.compile(tuple(map(numba.typeof, args)))
    parts = "\n".join(dispatcher.inspect_llvm().values()).split("\ndefine ")[1:]
    return "\n".join(part for part in parts if "cpython" not in part.partition("\n")[0])  # Python's floats are double


def test_nothing_is_fused_or_reordered() -> None:
    """Check that float32 functions use no float64, fused products or fast-math."""
    assert compiled.OPTIONS == {"nogil": True, "error_model": "numpy"}
    for function, *args in SINGLE:
        text = code_of(function, *args)
        assert "ret i32" in text
        assert not re.search(r"\b(double|contract|fast|fma|reassoc)\b", text), function.__name__
