"""Test imports of NumPy arrays: no anatomical axes, a given spacing, no pickles."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dali_cr.tools.importers.npy import find_npy
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.contents import StoreContents

RNG = np.random.default_rng(0)
SPACING = (3.0, 1.0, 0.5)


def read_npy(path: Path) -> StoreContents:
    item = find_npy(path.parent, path.name, SPACING)
    return item.read(path.parent, item)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "f8", "u1"])
def test_numpy_arrays(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    voxels = RNG.integers(0, 100, shape).astype(dtype)
    for name, array in (("c.npy", voxels), ("fortran.npy", np.asfortranarray(voxels))):
        np.save(tmp_path / name, array)
        found = read_npy(tmp_path / name)
        np.testing.assert_array_equal(found.voxels, voxels.reshape((1,) * (4 - voxels.ndim) + shape))
        assert (found.orientation, found.original.path) == ("XYZ", name)
        assert np.diag(found.affine).tolist() == [0.5, 1.0, 3.0, 1.0]


def test_numpy_files_that_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.int16))
    with pytest.raises(VolumeError, match="a NumPy array has no spacing; give --spacing D H W in mm"):
        find_npy(tmp_path, "a.npy", None)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-10])
    np.save(tmp_path / "objects.npy", np.array([Planted()], object), allow_pickle=True)
    np.save(tmp_path / "five.npy", np.zeros((1, 1, 1, 1, 2)))
    np.save(tmp_path / "bool.npy", np.zeros((3, 4, 5), bool))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Planted()))
    for name in ("cut", "objects", "five", "bool", "pickle"):
        with pytest.raises(VolumeError, match=rf"{name}\.npy: "):
            read_npy(tmp_path / f"{name}.npy")
    assert not Planted.unpickled


class Planted:
    """Object that records whether it was unpickled."""

    unpickled = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _plant, ()


def _plant() -> None:
    Planted.unpickled = True
