"""Test the detection of labels by path and by images of the same case, also on real data sets."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.index.labels import label_word
from tests.helpers.volumes import DATA, write_nifti

SHAPE = (24, 22, 20)


def image(path: Path, dtype: str = "<i2", **options: object) -> Path:
    """Write noise of at most 250 grey levels on an empty background."""
    numbers = np.random.default_rng(len(path.name)).integers(0, 250, SHAPE)
    numbers[:4] = 0
    return write_nifti(path, numbers if dtype == "|u1" else 8 * numbers + 1, dtype=dtype, **options)  # type: ignore[arg-type]


def label(path: Path, classes: int = 3, dtype: str = "|u1", **options: object) -> Path:
    """Write one patch per class on an empty background."""
    numbers = np.zeros(SHAPE, int)
    inside = (SHAPE[0], SHAPE[1], 16)
    numbers[..., 4:] = (np.arange(np.prod(inside)) * classes // np.prod(inside) + 1).reshape(inside, order="F")
    return write_nifti(path, numbers, dtype=dtype, **options)  # type: ignore[arg-type]


def scan(folder: Path, *arguments: object, **options: object) -> tuple[list[str], list[str]]:
    """Return the names of the cases and the paths that look like labels."""
    index = dali_cr.scan(folder, *arguments, progress=False, **options)  # type: ignore[arg-type]
    aside = [p.path for p in index.problems if p.reason.startswith("looks like a label: ")]
    assert sorted({volume.path for volume in index.set_aside}) == aside
    return [case.name for case in index.cases], aside


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("imagesTr/case_1.nii.gz", None),
        ("labelsTr/case_1.nii.gz", "labels"),
        ("LABELS/1.nii", "LABELS"),
        ("unlabelled/1.nii", None),
        ("a/case_1_seg.nii.gz", "seg"),
        ("a/case1_brainmask.nii", "brainmask"),
        ("derivatives/sub-01_dseg.nii.gz", "dseg"),
        ("a/labels117.nii.gz", "labels"),
        ("a/groundTruth.nii", "Truth"),
        ("s0001/segmentations/liver.nii.gz", "segmentations"),
        ("a/lesion.nii.gz", "lesion"),
        ("a/massage/seagull.nii", None),
    ],
)
def test_words_of_a_path(path: str, word: str | None) -> None:
    assert label_word(path) == word


@pytest.mark.parametrize("dtype", ["|u1", "<i2", "<f4", ">f8"])
@pytest.mark.parametrize("classes", [1, 3, 60, 250])
def test_by_the_path(tmp_path: Path, classes: int, dtype: str) -> None:
    image(tmp_path / "images" / "a.nii")
    label(tmp_path / "labels" / "b.nii", classes, dtype)
    assert scan(tmp_path) == (["images/a.nii"], ["labels/b.nii"])


@pytest.mark.parametrize("dtype", ["|u1", "<i2", "<f4"])
def test_an_image_is_not_excluded_for_its_path(tmp_path: Path, dtype: str) -> None:
    image(tmp_path / "segmentation challenge" / "a.nii", dtype)
    image(tmp_path / "segmentation challenge" / "b.nii", "<f4")
    assert scan(tmp_path)[1] == []


@pytest.mark.parametrize(
    ("its_image", "other"),
    [
        ("p1/ct.nii.gz", "p1/heart.nii.gz"),
        ("007_ct.nii", "007_heart.nii"),
        ("images/x.nii.gz", "organs/x.nii"),
        ("imagesTr/bone_12_0000.nii.gz", "organs/bone_12.nii.gz"),
    ],
)
def test_by_images_of_the_same_case(tmp_path: Path, its_image: str, other: str) -> None:
    image(tmp_path / its_image, orientation="LPS")
    label(tmp_path / other)
    assert scan(tmp_path) == ([its_image], [other])


@pytest.mark.parametrize(
    ("its_image", "other", "options"),
    [
        ("p1/ct.nii", "p2/heart.nii", {}),
        ("007_ct.nii", "008_heart.nii", {}),
        ("p1/ct.nii", "p1/heart.nii", {"spacing": (1.0, 1.0, 1.1)}),
    ],
)
def test_elsewhere_it_may_be_an_image(tmp_path: Path, its_image: str, other: str, options: dict) -> None:
    image(tmp_path / its_image)
    label(tmp_path / other, **options)
    assert scan(tmp_path)[1] == []


def test_images_of_the_same_case_by_pattern(tmp_path: Path) -> None:
    image(tmp_path / "ct" / "p1.nii")
    label(tmp_path / "organs" / "of p1.nii")
    assert scan(tmp_path)[1] == []
    assert scan(tmp_path, ["ct/{case}.nii", "organs/of {case}.nii"])[1] == ["organs/of p1.nii"]


def test_an_8_bit_image_of_a_case_with_another_image_is_kept(tmp_path: Path) -> None:
    image(tmp_path / "p1" / "ct.nii", "<i2")
    image(tmp_path / "p1" / "pet.nii", "|u1")
    assert scan(tmp_path) == (["p1/ct.nii", "p1/pet.nii"], [])


@pytest.mark.parametrize("factor", [0.9999, 1 / 3, 1.0004])
@pytest.mark.parametrize("name", ["sub-01_T1w_lesion-seg.nii.gz", "sub-01_T1w_drawn.nii.gz"])
def test_masks_whose_numbers_are_not_quite_whole(tmp_path: Path, factor: float, name: str) -> None:
    image(tmp_path / "sub-01" / "sub-01_T1w.nii.gz")
    path = label(tmp_path / "sub-01" / name)
    numbers = nib.load(path).get_fdata()
    nib.save(nib.Nifti1Image((numbers * factor).astype("f4"), nib.load(path).affine), path)
    assert scan(tmp_path) == (["sub-01/sub-01_T1w.nii.gz"], [f"sub-01/{name}"])


def test_a_mask_with_a_scale_factor(tmp_path: Path) -> None:
    image(tmp_path / "p1" / "ct.nii")
    path = label(tmp_path / "p1" / "heart.nii", classes=60)
    scaled = nib.Nifti1Image(nib.load(path).get_fdata(), nib.load(path).affine)
    scaled.set_data_dtype("i2")  # for floats nibabel stores a scale factor
    nib.save(scaled, path)
    assert scan(tmp_path) == (["p1/ct.nii"], ["p1/heart.nii"])


def test_small_values_in_large_units_are_an_image(tmp_path: Path) -> None:
    image(tmp_path / "p1" / "ct.nii")
    diffusion = np.random.default_rng(0).uniform(1e-4, 9e-4, SHAPE)  # mm²/s: all within 1e-3 of 0
    write_nifti(tmp_path / "p1" / "label-free adc.nii", diffusion, dtype="<f4")
    assert scan(tmp_path)[1] == []


def test_include_overrules(tmp_path: Path) -> None:
    image(tmp_path / "p1" / "ct.nii")
    label(tmp_path / "p1" / "seg.nii")
    label(tmp_path / "p1" / "heart.nii")
    assert scan(tmp_path, include="**/seg.nii") == (["p1/ct.nii", "p1/seg.nii"], ["p1/heart.nii"])


def test_channels(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        image(tmp_path / case / "t1.nii")
        image(tmp_path / case / "t2.nii")
        label(tmp_path / case / "seg.nii")
    found = dali_cr.scan(tmp_path, "{case}/{channel}.nii", progress=False)
    assert (len(found), found.channel_names) == (2, ("t1", "t2"))
    asked = dali_cr.scan(tmp_path, "{case}/{channel}.nii", channels=["t1", "seg"], progress=False)
    assert (len(asked), asked.channels) == (2, 2)
    assert [p.path for p in asked.problems] == []


@pytest.mark.parametrize(
    ("folder", "images", "labels"),
    [
        ("msd_hippocampus", 261, 260),
        ("openkbp_hn_ct", 80, 80),
        ("full_volumes", 8, 1),
        ("totalsegmentator_examples", 2, 2),
        ("nifti_odd", 32, 0),
    ],
)
def test_real_data_sets(folder: str, images: int, labels: int) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip("needs the real volumes")
    index = dali_cr.scan(DATA / folder, progress=False)
    assert (len(index), sum("looks like a label" in p.reason for p in index.problems)) == (images, labels)
