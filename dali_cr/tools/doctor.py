"""``python -m dali_cr doctor``: check the installation and this machine, with advice."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

import dali_cr
from dali_cr.extras import TRAIN_HINT
from dali_cr.tools.checks.finding import Finding, attempt, check_package
from dali_cr.tools.checks.gpu import check_gpu, driver_cuda
from dali_cr.tools.checks.machine import check_machine

_REQUIRED = ("numpy", "nibabel", "isal", "lz4", "google_crc32c", "numba")
_TRAINING = ("monai", "scipy", "sklearn", "safetensors", "tyro", "matplotlib", "torch.utils.tensorboard")
"""Packages of the training commands; not needed for making samples."""


def report() -> tuple[str, bool]:
    """Run all checks.

    Returns
    -------
    text : str
        One finding per line (ok, missing or wrong), each followed by its advice.
    works : bool
        Whether samples can be made on the CPU; a GPU is optional.
    """
    driver = driver_cuda()
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    findings += [Finding("dali-cr", "ok", f"{dali_cr.__version__} in {Path(dali_cr.__file__).parent}")]
    findings += [check_package(name) for name in _REQUIRED]
    findings += [*check_gpu(driver), *check_machine()]
    findings += [_training(name) for name in _TRAINING]
    cpu = attempt("CPU samples", lambda: _make_batch("cpu"))
    findings.append(cpu)
    if driver:
        findings.append(attempt("GPU samples", lambda: _make_batch("cuda")))
    return "\n".join(map(str, findings)), cpu.state == "ok"


def _training(name: str) -> Finding:
    found = check_package(name, f"for the training commands: {TRAIN_HINT}")
    return Finding(name.rpartition(".")[2], found.state, found.text, found.advice)


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
