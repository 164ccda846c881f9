"""Test imports of nnU-Net's preprocessed arrays: spacing and axes of the plans, no pickles, no code."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest

from dali_cr.tools.importers.nnunet import find_b2nd, find_plans
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.contents import StoreContents

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Blosc2 that opens files safely needs Python 3.11")

RNG = np.random.default_rng(0)
SPACING = (3.0, 1.0, 0.5)


class Planted:
    """Object that records whether it was unpickled."""

    unpickled = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _plant, ()


def _plant() -> None:
    Planted.unpickled = True


def write_plans(path: Path, order: list[int], **configurations: list[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {f"of {name}": {"spacing": mm} for name, mm in configurations.items()}
    for name in configurations:
        known[name] = {"inherits_from": f"of {name}", "data_identifier": f"nnUNetPlans_{name}"}
    forward = [order.index(axis) for axis in range(3)]
    content = {"transpose_forward": forward, "transpose_backward": order, "configurations": known}
    path.write_text(json.dumps(content))
    return path


def write_b2nd(path: Path, array: np.ndarray) -> Path:
    """Write an array like nnU-Net's `save_case`, with labels and a pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cparams = {"codec": blosc2.Codec.LZ4HC, "filters": [blosc2.Filter.SHUFFLE], "clevel": 5}
    for name, content in ((path.name, array), (f"{path.stem}_seg.b2nd", np.zeros(array.shape, np.int8))):
        place = {"urlpath": str(path.with_name(name)), "cparams": cparams, "mmap_mode": "w+"}
        blosc2.asarray(np.ascontiguousarray(content), chunks=(1, 4, 4, 4), blocks=(1, 2, 4, 4), **place)
    path.with_suffix(".pkl").write_bytes(pickle.dumps(Planted()))
    return path


def read_b2nd(path: Path, top: Path, plans: Path | None = None, spacing: Any = None) -> StoreContents:
    item = find_b2nd(top, path.relative_to(top).as_posix(), spacing, lambda folder: find_plans(folder, plans))
    return item.read(top, item)


def test_nnunets_arrays(tmp_path: Path) -> None:
    voxels = RNG.normal(size=(2, 5, 6, 7)).astype(np.float32)
    path = write_b2nd(tmp_path / "Dataset001" / "nnUNetPlans_3d_fullres" / "case_1.b2nd", voxels)
    write_plans(
        tmp_path / "Dataset001" / "nnUNetPlans.json", [0, 1, 2], **{"2d": [1.0, 1.0], "3d_fullres": [3, 1, 0.5]}
    )
    found = read_b2nd(path, tmp_path)
    np.testing.assert_array_equal(found.voxels, voxels)
    assert np.diag(found.affine).tolist() == [0.5, 1.0, 3.0, 1.0]
    assert found.original.path == "Dataset001/nnUNetPlans_3d_fullres/case_1.b2nd"
    assert not Planted.unpickled


def test_axes_that_nnunet_transposed_are_restored(tmp_path: Path) -> None:
    original = RNG.normal(size=(1, 5, 6, 7)).astype(np.float32)
    backward = [1, 2, 0]
    forward = [backward.index(axis) for axis in range(3)]
    turned = original.transpose(0, *(axis + 1 for axis in forward))
    path = write_b2nd(tmp_path / "nnUNetPlans_3d_fullres" / "a.b2nd", turned)
    mm = dict(zip("DHW", SPACING, strict=True))
    along = [mm["DHW"[axis]] for axis in forward]
    plans = write_plans(tmp_path / "plans.json", backward, **{"3d_fullres": along})
    for found in (read_b2nd(path, tmp_path, plans), read_b2nd(path, tmp_path, plans, SPACING)):
        np.testing.assert_array_equal(found.voxels, original)
        assert np.diag(found.affine).tolist() == [0.5, 1.0, 3.0, 1.0]


def test_nnunets_files_that_are_refused(tmp_path: Path) -> None:
    path = write_b2nd(tmp_path / "nnUNetPlans_2d" / "a.b2nd", np.zeros((1, 5, 6, 7), np.float32))
    with pytest.raises(
        VolumeError, match="no plans have the data_identifier nnUNetPlans_2d; give --plans or --spacing"
    ):
        read_b2nd(path, tmp_path)
    plans = write_plans(tmp_path / "nnUNetPlans.json", [0, 1, 2], **{"2d": [1.0, 1.0]})
    with pytest.raises(VolumeError, match="2-D configuration: its plans have no spacing between slices"):
        read_b2nd(path, tmp_path)
    assert read_b2nd(path, tmp_path, spacing=SPACING).voxels.shape == (1, 5, 6, 7)
    with pytest.raises(VolumeError, match="labels of nnU-Net"):
        read_b2nd(path.with_name("a_seg.b2nd"), tmp_path)
    plans.write_text("{")
    with pytest.raises(VolumeError, match="plans that cannot be read"):
        read_b2nd(path, tmp_path, plans)
    plans.unlink()
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VolumeError, match="Blosc2 cannot read it"):
        read_b2nd(path, tmp_path, spacing=SPACING)


def test_arrays_with_code_are_refused(tmp_path: Path) -> None:
    array = blosc2.asarray(
        np.arange(120, dtype=np.float32).reshape(1, 4, 5, 6), urlpath=str(tmp_path / "x.b2nd"), mode="w"
    )
    (array + 1).save(urlpath=str(tmp_path / "lazy.b2nd"), mode="w")
    with pytest.raises(VolumeError, match="Blosc2 cannot read it"):
        read_b2nd(tmp_path / "lazy.b2nd", tmp_path, spacing=SPACING)


def test_a_blosc2_that_could_run_code_in_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_b2nd(tmp_path / "a" / "a.b2nd", np.zeros((1, 5, 6, 7), np.float32))
    monkeypatch.delattr(blosc2, "UnsafeDeserializationError")
    with pytest.raises(ImportError, match=r'expected 4\.14\.1 or newer, got .*; pip install "\.\[formats\]"'):
        read_b2nd(path, tmp_path, spacing=SPACING)
