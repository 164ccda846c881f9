"""Converted MedMNIST files: voxels, axes and classes are those of the original."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from tests.helpers.finetuning import read_csv
from train.data.medmnist import MedmnistConfig, command_line, main, make_affine


def write_npz(path: Path, **changes: np.ndarray) -> Path:
    draws = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        arrays[f"{part}_images"] = draws.integers(0, 256, (count, 8, 9, 10), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez(path, **(arrays | changes))
    return path


def test_converts(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "a.npz")
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"0": "cord", "1": "larynx"}))
    told = main(MedmnistConfig(file=file, out=tmp_path / "out", names=names, axes="PLI", spacing=(1.0, 2.0, 3.0)))
    assert (told["train"], told["val"], told["test"]) == (3, 1, 2)
    rows = read_csv(tmp_path / "out" / "classes.csv")
    assert [row["label"] for row in rows] == ["cord", "larynx", "cord", "cord", "cord", "larynx"]
    assert [row["split"] for row in rows] == ["train"] * 3 + ["val"] + ["test"] * 2
    path = tmp_path / "out" / "images" / rows[1]["case"]
    image = nib.load(path)
    assert nib.aff2axcodes(image.affine) == ("P", "L", "I")
    assert image.header.get_zooms() == (1.0, 2.0, 3.0)
    known = np.load(file)["train_images"][1]
    # Axes P, L, I: canonical z is I turned, y is P turned, x is L turned.
    canonical = known.transpose(2, 0, 1)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(dali_cr.read_volume(path)[0], canonical)


@pytest.mark.parametrize("axes", ["RAS", "PLI", "SAL", "IRP", "LPS"])
def test_axes_point_where_they_should(axes: str) -> None:
    affine = make_affine(axes, (1.0, 2.0, 3.0), (4, 5, 6))
    assert "".join(nib.aff2axcodes(affine)) == axes
    assert nib.affines.voxel_sizes(affine).tolist() == [1.0, 2.0, 3.0]


def test_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = write_npz(tmp_path / "flat.npz", val_images=np.zeros((1, 8, 9), np.uint8))
    for line, message in (
        ([str(flat), "--out", str(tmp_path / "o")], "val of"),
        ([str(write_npz(tmp_path / "a.npz")), "--out", str(tmp_path / "o"), "--axes", "RLS"], "got 'RLS'"),
        ([str(tmp_path / "none.npz"), "--out", str(tmp_path / "o")], "cannot be read"),
        ([str(flat), "--out", str(tmp_path)], "expected a new or empty folder"),
    ):
        assert command_line(line) == 2
        assert message in capsys.readouterr().err
