"""Test that bits of samples, plans, swaps and fingerprints do not change, by SHA-256 in `golden.json`.

``python -m tests.package.test_golden`` prints the current values. A changed value breaks checkpoints or seeds: it needs
a new format number or version, and a line in the changelog.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.recipes import make_samples
from dali_cr.recipe.fingerprint import SINCE
from tests.helpers.frozen import CHANNELS, FRAMES, SINGLE, digest, frozen_index

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
SAMPLES, SEED = 8, 2**63 + 11
NAMES: dict[type, tuple[str, ...]] = {
    dali_cr.Restoration: ("input", "target"),
    dali_cr.Views: ("view", "target", "local"),
}
"""Names of a batch's arrays, in the order of hashing."""

SWAP = dali_cr.Swap(iterations=9, patch=(2, 5))
APART = dali_cr.Swap(iterations=6, patch=(2, 5), overlap=False)
CROP = {"crop": (12, 14, 16), "swap": SWAP}
FLAT = {"crop": (1, 14, 12), "swap": dali_cr.Swap(iterations=6, patch=(2, 4))}
VIEWS = {
    "shape": (8, 16, 16),
    "sizes": ((12, 18, 16), (10, 24, 20), (8, 16, 16)),
    "locals": 3,
    "local_shape": (8, 8, 8),
    "local_sizes": ((4, 6, 6), (8, 8, 8), (6, 5, 8)),
    "swap": dali_cr.Swap(iterations=7, patch=(2, 2, 4)),
    "normalize": "percentile",
}
THIN = {
    "shape": (1, 16, 16),
    "sizes": ((1, 18, 16), (1, 14, 20)),
    "locals": 2,
    "local_shape": (1, 8, 8),
    "local_sizes": ((1, 6, 6), (1, 9, 8)),
    "swap": dali_cr.Swap(iterations=5, patch=(1, 3, 3)),
    "normalize": ("window", 5.0, 90.0),
}
RADIOGRAPHS = {
    "shape": (1, 16, 16),
    "local_shape": (1, 8, 8),
    "locals": 3,
    "area": (0.3, 1.0),
    "local_area": (0.05, 0.3),
    "swap": dali_cr.Swap(iterations=0),
    "isotropic_blur": True,
    "blur_probability": 0.5,
    "brightness": 0.4,
    "contrast": 0.4,
    "cutout": (3, 5),
    "standardize": (0.449, 0.226),
    "normalize": ("window", 5.0, 90.0),
}
restoration, views, slices = dali_cr.Restoration, dali_cr.Views, dali_cr.Slices
RECIPES: dict[str, tuple[str, dali_cr.Restoration | dali_cr.Views]] = {
    "swap": ("single", restoration(**CROP, flips=("D", "H", "W"))),
    "inpaint": ("single", restoration(**CROP, pretext="inpaint")),
    "autoencode": ("single", restoration(**CROP, pretext="autoencode")),
    "padded": ("single", restoration(crop=(20, 31, 24), swap=SWAP, flips=("H",))),
    "percentile": ("single", restoration(**CROP, normalize="percentile")),
    "window": ("single", restoration(**CROP, normalize=("window", 3.0, 77.0))),
    "not normalised": ("single", restoration(**CROP, normalize=None, flips=())),
    "uniform": ("single", restoration(**CROP, foreground=0.0)),
    "crops per volume": ("single", restoration(**CROP, crops_per_volume=3)),
    "float16": ("single", restoration(**CROP, dtype="float16")),
    "slices across D": ("single", restoration(**FLAT, slices=slices())),
    "slices across H": ("single", restoration(**FLAT, slices=slices("H", 3), flips=("D", "W"), crops_per_volume=2)),
    "slices across W": ("single", restoration(**FLAT, slices=slices("W", 2, False), pretext="inpaint")),
    "spacing": ("single", restoration(**CROP, spacing=(1.25, 0.8, 1.1), flips=("D", "H", "W"))),
    "spacing, float16": (
        "single",
        restoration(**CROP, spacing=(2.0, 1.5, 1.5), dtype="float16", normalize="percentile"),
    ),
    "files as channels": ("channels", restoration(**CROP)),
    "frames as channels": ("frames", restoration(**CROP, pretext="inpaint", spacing=(1.5, 1.0, 1.0))),
    "views": ("single", views(**VIEWS)),
    "views, spacing": ("single", views(**VIEWS, spacing=(1.25, 0.8, 1.1), flips=("D", "H", "W"), crops_per_volume=2)),
    "views, plain": ("single", views(**VIEWS, blur=0.0, noise=0.0, gamma=0.0, scale=0.0, degrees=0.0)),
    "views, one slice": ("single", views(**THIN, degrees=30.0)),
    "views, files as channels": ("channels", views(**VIEWS, foreground=0.5)),
    "each patch once": ("single", restoration(**CROP | {"swap": APART})),
    "z-score of the image": ("single", restoration(**CROP, normalize="zscore-image")),
    "mae": ("single", restoration(crop=(12, 14, 16), pretext="mae", mask_block=(2, 2, 3))),
    "mae, slices": ("frames", restoration((1, 14, 12), pretext="mae", mask_block=2, slices=slices(), mask_value=0.5)),
    "augmented": (
        "frames",
        restoration(**CROP, degrees=30.0, scale=(0.7, 1.4), affine_probability=0.5, noise=0.4, gamma=0.5),
    ),
    "views, each patch once": ("single", views(**VIEWS | {"swap": replace(APART, patch=4)})),
    "views, radiographs": ("single", views(**RADIOGRAPHS)),
    "views, holes": ("channels", views(**VIEWS, cutout=(2, 5), blur_probability=0.5)),
}
SWAPS: dict[str, tuple[tuple[int, int, int], dali_cr.Swap]] = {
    "cube": ((32, 32, 32), dali_cr.Swap(iterations=50, patch=(2, 9))),
    "one size": ((7, 20, 33), dali_cr.Swap(iterations=20, patch=3)),
    "per axis": ((16, 64, 48), dali_cr.Swap(iterations=30, patch=((1, 4), (2, 40), (48, 48)))),
    "one slice": ((1, 64, 50), dali_cr.Swap(iterations=30, patch=(4, 16))),
    "tight": ((8, 8, 9), dali_cr.Swap(iterations=30, patch=(4, 4, 7))),
    "large": ((512, 512, 512), dali_cr.Swap(iterations=100, patch=(4, 256))),
    "none": ((8, 8, 8), dali_cr.Swap(iterations=0)),
    "apart": ((65, 64, 63), dali_cr.Swap(iterations=24, patch=(3, 16), overlap=False)),
    "apart, one slice": ((1, 64, 50), dali_cr.Swap(iterations=30, patch=((1, 1), (2, 8), 5), overlap=False)),
}
SEEDS = (0, 7, 2**64 - 1)
PLANNED = [*range(SAMPLES), 10**6 + 1, 2**32 + 3, 2**40 + 5]

Indexes = dict[str, dali_cr.Index]


def make_indexes(folder: Path) -> Indexes:
    return {
        "single": frozen_index(folder / "single", SINGLE),
        "channels": frozen_index(folder / "channels", CHANNELS, "{case}/{channel}.nii"),
        "frames": frozen_index(folder / "frames", FRAMES),
    }


def hash_samples(indexes: Indexes, name: str, batch_size: int = SAMPLES, threads: int = 2, device: str = "cpu") -> str:
    """Return the hash of the first samples of a recipe, for any batch size."""
    index, recipe = indexes[RECIPES[name][0]], RECIPES[name][1]
    options: dict[str, Any] = {"batch_size": batch_size, "threads": threads, "device": device}
    with dali_cr.Loader(index, recipe, seed=SEED, rank=0, world_size=1, **options) as loader:
        batches = [batch for batch, _ in zip(loader.stream(), range(-(-SAMPLES // batch_size)), strict=False)]
    assert np.concatenate([batch["sample"] for batch in batches])[:SAMPLES].tolist() == list(range(SAMPLES))
    names = [*NAMES[type(recipe)], *(["mask"] if getattr(recipe, "pretext", "") == "mae" else [])]
    arrays = ([batch[key].cpu().numpy() for batch in batches] for key in names)
    return digest(*(np.concatenate(array)[:SAMPLES] for array in arrays))


def hash_plans(indexes: Indexes, name: str, broken: tuple[int, ...] = ()) -> str:
    """Return the hash of plans of a recipe; results of libm are rounded."""
    planner = make_samples(indexes[RECIPES[name][0]], RECIPES[name][1], SEED).planner
    values: list[Any] = []
    for plan in planner.plan(PLANNED, broken):
        values += [np.array([plan.number, plan.case, plan.attempt], np.int64), list(plan.path.encode())]
        values += [plan.mask] if len(plan.mask) else []
        for view in plan.views:
            values += [np.array(view.origin, np.int64), np.array(view.flips), view.swaps]
            for number in ("size", "shape", "angles", "scales", "blur", "noise", "gamma", "matrix", "offset"):
                if hasattr(view, number):
                    values.append(np.round(np.array(getattr(view, number), np.float64), 6) + 0.0)
            if len(getattr(view, "holes", ())):
                values += [view.holes, np.array([view.brightness, view.contrast, view.contrast_first], np.float32)]
    return digest(*values)


def hash_swaps(name: str) -> str:
    shape, swap = SWAPS[name]
    return digest(*(dali_cr.draw_swaps(seed, n, shape, swap) for seed in SEEDS for n in (0, 1, 2**33 + 1)))


def hash_parts(indexes: Indexes) -> dict[str, list[str]]:
    """Return the fingerprints of parts of an index."""
    return {str(seed): [part.fingerprint for part in indexes["single"].split((0.6, 0.4), seed)] for seed in SEEDS}


def present(indexes: Indexes) -> dict[str, Any]:
    """Return the current values of all entries of `golden.json`."""
    return {
        "samples": {name: hash_samples(indexes, name) for name in RECIPES},
        "plans": {name: hash_plans(indexes, name) for name in RECIPES},
        "plans without broken cases": {name: hash_plans(indexes, name, broken=(1,)) for name in RECIPES},
        "swaps": {name: hash_swaps(name) for name in SWAPS},
        "recipes": {name: recipe.fingerprint for name, (_, recipe) in RECIPES.items()},
        "indexes": {name: index.fingerprint for name, index in indexes.items()},
        "parts": hash_parts(indexes),
    }


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Indexes:
    return make_indexes(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("batch_size", "threads"), [(SAMPLES, 1), (3, 2)])
def test_samples(indexes: Indexes, golden: dict[str, Any], name: str, batch_size: int, threads: int) -> None:
    assert hash_samples(indexes, name, batch_size, threads) == golden["samples"][name]


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_samples_of_a_gpu(indexes: Indexes, golden: dict[str, Any], name: str) -> None:
    assert hash_samples(indexes, name, device="cuda") == golden["samples"][name]


@pytest.mark.parametrize("name", RECIPES)
def test_plans_and_fingerprints(indexes: Indexes, golden: dict[str, Any], name: str) -> None:
    assert hash_plans(indexes, name) == golden["plans"][name]
    assert hash_plans(indexes, name, broken=(1,)) == golden["plans without broken cases"][name]
    assert RECIPES[name][1].fingerprint == golden["recipes"][name]


@pytest.mark.parametrize("name", SWAPS)
def test_swaps(golden: dict[str, Any], name: str) -> None:
    assert hash_swaps(name) == golden["swaps"][name]


def test_indexes_and_their_parts(indexes: Indexes, golden: dict[str, Any]) -> None:
    assert {name: index.fingerprint for name, index in indexes.items()} == golden["indexes"]
    assert hash_parts(indexes) == golden["parts"]


def test_all_hashes_differ(indexes: Indexes, golden: dict[str, Any]) -> None:
    """Check that all hashes differ, and that none is unused."""
    for group, names in (("samples", RECIPES), ("plans", RECIPES), ("recipes", RECIPES), ("swaps", SWAPS)):
        assert list(golden[group]) == list(names)
    for group in ("samples", "recipes", "swaps", "indexes"):
        assert len(set(golden[group].values())) == len(golden[group])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of features are those of x86")
def test_a_plain_cpu_gives_the_same() -> None:
    """Check that values do not depend on vector instructions of NumPy or fused ones of the C library."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
    }
    command = [sys.executable, "-m", "tests.package.test_golden"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == GOLDEN.read_text()


FIELDS: list[tuple[type, str]] = [
    (dali_cr.Swap, "iterations patch"),
    (dali_cr.Slices, "axis every skip_empty"),
    (
        dali_cr.Restoration,
        "crop swap flips normalize foreground crops_per_volume dtype pretext slices spacing",
    ),
    (
        dali_cr.Views,
        "shape sizes overlap locals local_shape local_sizes swap flips scale degrees blur noise gamma normalize "
        "foreground spacing crops_per_volume",
    ),
]


@pytest.mark.parametrize(("recipe", "names"), FIELDS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_field_added_since_the_first_release_is_marked(recipe: Any, names: str) -> None:
    """Check it, because an unmarked field would change every fingerprint: see `dali_cr.recipe.fingerprint`."""
    assert [one.name for one in fields(recipe) if SINCE not in one.metadata] == names.split()


def main() -> None:
    """Print the current values."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(present(make_indexes(Path(folder))), indent=2))


if __name__ == "__main__":
    main()
