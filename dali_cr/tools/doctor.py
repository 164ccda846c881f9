"""``python -m dali_cr doctor``: check the installation and this machine, with advice."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import pwd
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dali_cr
from dali_cr.extras import GPU_HINT, TRAIN_HINT
from dali_cr.system.account import user_name
from dali_cr.system.compiled import cache_folder
from dali_cr.system.memory import physical_memory, usable_memory
from dali_cr.volume.packed import deflate, lz4

State = Literal["ok", "missing", "wrong"]

_REQUIRED = ("numpy", "nibabel", "isal", "lz4", "google_crc32c", "numba")
_TRAINING = ("monai", "scipy", "sklearn", "safetensors", "tyro", "matplotlib", "torch.utils.tensorboard")
"""Packages of the training commands; not needed for making samples."""
_LEAST_MEMORY = 4 << 30
_OLDEST_DALI = (2, 4)
_LEAST_SHARED_MEMORY = 1 << 30
_LEAST_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name : str
    state : "ok", "missing" or "wrong"
    text : str
        Result of the check.
    advice : str
        Recommended action; empty if none.
    """

    name: str
    state: State
    text: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n{'':<22} -> {self.advice}" if self.advice else ""
        return f"{self.name:<14} {self.state:<7} {self.text}{advice}"


def report() -> tuple[str, bool]:
    """Run all checks.

    Returns
    -------
    text : str
        One finding per line (ok, missing or wrong), each followed by its advice.
    works : bool
        Whether samples can be made on the CPU; a GPU is optional.
    """
    driver = _driver_cuda()
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    findings += [Finding("dali-cr", "ok", f"{dali_cr.__version__} in {Path(dali_cr.__file__).parent}")]
    findings += [_package(name) for name in _REQUIRED]
    findings += [_torch(driver), _dali(), *_cupy(driver), _gpu(driver)]
    findings += [_memory(), _shared_memory(), _open_files(), _cores(), _account(), _compiled(), _bricks()]
    findings += [_training(name) for name in _TRAINING]
    cpu = _attempt("CPU samples", lambda: _make_batch("cpu"))
    findings.append(cpu)
    if driver:
        findings.append(_attempt("GPU samples", lambda: _make_batch("cuda")))
    return "\n".join(map(str, findings)), cpu.state == "ok"


def _package(name: str, advice: str = "pip install . in the checkout of dali-cr") -> Finding:
    """Import a package; any error is a finding."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return Finding(name, "missing", f"{error}", advice)
    except Exception as error:
        return Finding(name, "wrong", f"cannot be imported: {error}", f"reinstall it: {advice}")
    return Finding(name, "ok", str(getattr(module, "__version__", "unknown version")))


def _torch(driver: tuple[int, int] | None) -> Finding:
    found = _package("torch", GPU_HINT)
    if found.state != "ok":
        return found
    built = importlib.import_module("torch").version.cuda
    if built is None:
        return Finding("torch", "wrong" if driver else "ok", f"{found.text}, for CPUs only", GPU_HINT if driver else "")
    return _against_driver("torch", f"{found.text}, built for CUDA {built}", _version(built), driver)


def _dali() -> Finding:
    found = _package("nvidia.dali", GPU_HINT)
    oldest = ".".join(map(str, _OLDEST_DALI))
    if found.state == "ok" and _version(found.text) < _OLDEST_DALI:
        advice = f"pip install --upgrade: versions before {oldest} return wrong data"
        return Finding("DALI", "wrong", found.text, advice)
    return Finding("DALI", found.state, found.text, found.advice)


def _cupy(driver: tuple[int, int] | None) -> Iterator[Finding]:
    found = _package("cupy", GPU_HINT)
    if found.state != "ok":
        # CuPy is not needed on a CPU.
        yield Finding("CuPy", found.state, found.text, f"for a GPU: {GPU_HINT}")
        return
    runtime = importlib.import_module("cupy").cuda.runtime.runtimeGetVersion()
    version = runtime // 1000, runtime % 1000 // 10
    yield _against_driver("CuPy", f"{found.text}, with CUDA {version[0]}.{version[1]}", version, driver)
    yield _attempt("NVRTC", _compile, f"install its compiler: {GPU_HINT}")


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


def _driver_cuda() -> tuple[int, int] | None:
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


def _training(name: str) -> Finding:
    found = _package(name, f"for the training commands: {TRAIN_HINT}")
    return Finding(name.rpartition(".")[2], found.state, found.text, found.advice)


def _memory() -> Finding:
    total, usable = physical_memory(), usable_memory()
    text = f"{total / 1e9:.3g} GB"
    if usable < total:
        text += f", but the container may use only {usable / 1e9:.3g} GB"
    if usable < _LEAST_MEMORY:
        return Finding("memory", "wrong", text, "little for volumes: use fewer threads or a larger container")
    return Finding("memory", "ok", text)


def _account() -> Finding:
    home = os.path.expanduser("~")
    try:
        known = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        known = f"{os.getuid()} without a name; commands use USER={user_name()}"
    if not os.access(home, os.W_OK):
        return Finding("user", "wrong", f"{known}, home {home} is not writable", "set HOME to a folder for caches")
    return Finding("user", "ok", f"{known}, home {home}")


def _compiled() -> Finding:
    folder = cache_folder()
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        advice = "set NUMBA_CACHE_DIR to a writable folder: otherwise each process compiles again"
        return Finding("compiled code", "wrong", f"{parent} is not writable", advice)
    return Finding("compiled code", "ok", f"cached in {folder}")


def _bricks() -> Finding:
    """Check for the C functions that decompress bricks, which are not public interfaces of their wheels."""
    if not deflate.C_FUNCTION.exists():
        advice = "install the version of isal in constraints.txt; until then bricks compressed by zlib are refused"
        return Finding("brick stores", "wrong", f"{deflate.C_FUNCTION.name} is not in isal", advice)
    if not lz4.C_FUNCTION.exists():
        advice = "install the version of lz4 in constraints.txt"
        return Finding("brick stores", "wrong", f"{lz4.C_FUNCTION.name} is not in lz4: reading is slower", advice)
    return Finding("brick stores", "ok", "decompressed by the C functions of lz4 and isal")


def _shared_memory() -> Finding:
    status = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if status is None:
        return Finding("/dev/shm", "missing", "no shared memory", 'use cache="disk:PATH" instead of "host:…"')
    total, free = status.f_frsize * status.f_blocks, status.f_frsize * status.f_bavail
    text = f"{total / 1e9:.3g} GB, {free / 1e9:.3g} GB free"
    if total < _LEAST_SHARED_MEMORY:
        return Finding("/dev/shm", "wrong", text, 'too small for cache="host:…": docker run --shm-size=16g')
    return Finding("/dev/shm", "ok", text)


def _open_files() -> Finding:
    soft, hard = (n if n != resource.RLIM_INFINITY else 2**31 for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < _LEAST_FILES:
        return Finding("open files", "wrong", f"at most {soft}", f"ulimit -n {min(hard, 65536)} before starting")
    return Finding("open files", "ok", f"at most {soft}")


def _cores() -> Finding:
    usable, total = len(os.sched_getaffinity(0)), os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = "max", "1"
    if quota != "max" and int(quota) < usable * int(period):
        share = int(quota) / int(period)
        text = f"{usable} of {total}, but the container may use only {share:g} at a time"
        return Finding("cores", "wrong", text, f"use threads={max(1, round(share))} or a larger container")
    return Finding("cores", "ok", f"{usable} of {total}")


def _attempt(name: str, do: Callable[[], str], advice: str = "see the lines above") -> Finding:
    """Run a check; any error is a finding."""
    try:
        return Finding(name, "ok", do())
    except Exception as error:
        lines = f"{type(error).__name__}: {error}".splitlines()
        return Finding(name, "wrong", lines[0][:300], advice)


def _make_batch(device: str) -> str:
    """Make two samples of synthetic volumes, and check that undoing their swaps gives the target."""
    from dali_cr.tools.phantom_files import write_phantoms

    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder), count=2, shape=(24, 24, 24))
        index = dali_cr.scan(Path(folder) / "images", progress=False)
        recipe = dali_cr.Restoration(crop=(16, 16, 16), swap=dali_cr.Swap(iterations=10, patch=(2, 4)))
        loader: Any = dali_cr.Loader(index, recipe, batch_size=2, device=device)
        try:
            batch = next(iter(loader))
            for number, input, target in zip(*map(batch.get, ("sample", "input", "target")), strict=True):
                swaps = loader.plan(int(number)).swaps
                if not (dali_cr.unswap_patches(input, swaps) == target).all():
                    raise RuntimeError("undoing the swaps: expected the target, got another volume; please report this")
        finally:
            loader.close()
    return f'Loader(device="{device}") gives exact pairs'
