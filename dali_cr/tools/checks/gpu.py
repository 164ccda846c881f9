"""Check the packages that use a GPU, and the driver."""

from __future__ import annotations

import ctypes
import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from dali_cr.extras import GPU_HINT
from dali_cr.tools.checks.finding import Finding, attempt, check_package

_OLDEST_DALI = (2, 4)


def check_gpu(driver: tuple[int, int] | None) -> Iterator[Finding]:
    """Check PyTorch, DALI and CuPy, and the GPU.

    Parameters
    ----------
    driver : (2,) int, optional
        From `driver_cuda`.
    """
    yield _torch(driver)
    yield _dali()
    yield from _cupy(driver)
    yield _gpu(driver)


def _torch(driver: tuple[int, int] | None) -> Finding:
    found = check_package("torch", GPU_HINT)
    if found.state != "ok":
        return found
    built = importlib.import_module("torch").version.cuda
    if built is None:
        return Finding("torch", "wrong" if driver else "ok", f"{found.text}, for CPUs only", _torch_for(driver))
    matched = _against_driver("torch", f"{found.text}, built for CUDA {built}", _version(built), driver)
    return matched if matched.state == "ok" else replace(matched, advice=_torch_for(driver))


def _torch_for(driver: tuple[int, int] | None) -> str:
    """Return how to replace PyTorch by a build for the driver: the extras keep any build, and PyPI's needs CUDA 13."""
    if driver is None:
        return ""
    older = "" if driver[0] > 12 else " --index-url https://download.pytorch.org/whl/cu126"
    return f"pip install --force-reinstall torch torchvision{older}"


def _dali() -> Finding:
    found = check_package("nvidia.dali", GPU_HINT)
    oldest = ".".join(map(str, _OLDEST_DALI))
    if found.state == "ok" and _version(found.text) < _OLDEST_DALI:
        advice = f"pip install --upgrade: versions before {oldest} return wrong data"
        return Finding("DALI", "wrong", found.text, advice)
    return Finding("DALI", found.state, found.text, found.advice)


def _cupy(driver: tuple[int, int] | None) -> Iterator[Finding]:
    found = check_package("cupy", GPU_HINT)
    if found.state != "ok":
        # CuPy is not needed on a CPU.
        yield Finding("CuPy", found.state, found.text, f"for a GPU: {GPU_HINT}")
        return
    runtime = importlib.import_module("cupy").cuda.runtime.runtimeGetVersion()
    version = runtime // 1000, runtime % 1000 // 10
    yield _against_driver("CuPy", f"{found.text}, with CUDA {version[0]}.{version[1]}", version, driver)
    yield attempt("NVRTC", _compile, f"install its compiler: {GPU_HINT}")


def _compile() -> str:
    """Compile a kernel as CuPy does, without a GPU."""
    from dali_cr.ops import decode
    from dali_cr.ops.gpu import launch

    nvrtc = importlib.import_module("cupy").cuda.nvrtc
    entry, sources, defines = decode.VARIANTS[0]
    program = nvrtc.createProgram(launch.specialised_source(sources, defines), "kernel.cu", [], [])
    nvrtc.compileProgram(program, ["-arch=compute_80", *launch.OPTIONS])
    return f"{'.'.join(map(str, nvrtc.getVersion()))}, compiles {entry}: {len(nvrtc.getPTX(program))} bytes"


def _gpu(driver: tuple[int, int] | None) -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None or driver is None:
        what = "no NVIDIA driver" if driver is None else f"driver for CUDA {driver[0]}.{driver[1]}, but no nvidia-smi"
        advice = 'use device="cpu"; in a container, start it with --gpus all'
        return Finding("GPU", "missing" if driver is None else "ok", what, "" if driver else advice)
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        return Finding("GPU", "wrong", (done.stdout + done.stderr).strip(), "restart the machine after a driver update")
    return Finding("GPU", "ok", f"{'; '.join(done.stdout.strip().splitlines())}, CUDA {driver[0]}.{driver[1]}")


def driver_cuda() -> tuple[int, int] | None:
    """Return the newest CUDA version that the driver supports, or None without a driver."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) or not version.value:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


def _against_driver(name: str, text: str, built: tuple[int, ...], driver: tuple[int, int] | None) -> Finding:
    """Compare the CUDA version of a package with the driver, which supports its own major version and older ones."""
    if driver and built[0] > driver[0]:
        advice = f'pip install ".[cu{driver[0]}]" in the checkout of dali-cr, or a newer driver'
        return Finding(name, "wrong", f"{text}; the driver supports CUDA up to {driver[0]}.{driver[1]}", advice)
    return Finding(name, "ok", text)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
