"""Image and target are cropped alike: label voxels and box faces are flipped, padded and shifted with the image."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import dali_cr
from dali_cr.index.values.cells import cell_edge
from tests.helpers.finetuning import classify, localize, prepared, segment
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train.data.batches import LabelledBatches, draw_shifts, shift_images
from train.data.boxes import box_of, centroid_mm, read_boxes, to_canonical, to_file
from train.data.labels import class_map, match, read_names
from train.data.split.parts import Split
from train.finetune import _build_loader
from train.tasks.supervised import join
from train.tasks.task import TaskInput


def batches(config, task, training, count):
    """Yield the batches of a run."""
    loader = _build_loader(config, task.view, training, torch.device("cpu"))
    with loader:
        stream = LabelledBatches(loader, task.target).stream()
        for _ in range(count):
            yield next(stream)


@pytest.mark.parametrize("crop", [(16, 16, 16), (32, 16, 24)], ids=str)
def test_labels_are_cut_where_the_image_is(data, tmp_path, crop):
    config = segment(data, tmp_path / "run", crop=crop, flips=("D", "H"), foreground=0.5, normalize="none")
    run = prepared(config)
    # The very label files as images: then both crops must be the same numbers.
    images = dali_cr.scan(data / "labels", include="*", progress=False)
    chosen = {case.name for case in run.training.cases}
    images = replace(images, cases=tuple(case for case in images.cases if case.name in chosen))
    seen = flipped = 0
    for batch in batches(config, run.task, run.task.centre_crops(images), 20):
        assert batch["labels"].shape == (2, *crop)
        assert torch.equal(batch["image"][:, 0], batch["labels"].float())
        seen += int((batch["labels"] > 0).any())
        flipped += 1
    assert seen == flipped == 20


@pytest.mark.parametrize("spacing", [None, (15.0, 12.0, 14.0)], ids=str)
def test_labels_are_rotated_and_scaled_with_the_image(data, tmp_path, spacing):
    """An image of its own mask: what is nearest has at least an eighth of the trilinear value."""
    options = {"rotate": 30.0, "scale": (0.7, 1.4), "augment_probability": 0.8, "flips": ("D", "H")}
    config = segment(data, tmp_path / "run", spacing=spacing, normalize=("window", 0.0, 1.0), **options)
    run = prepared(config)
    images = dali_cr.scan(data / "labels", include="*", progress=False)
    chosen = {case.name for case in run.training.cases}
    images = replace(images, cases=tuple(case for case in images.cases if case.name in chosen))
    seen = list(batches(config, run.task, run.task.centre_crops(images), 10))
    image = torch.cat([batch["image"][:, 0] for batch in seen])
    mask = torch.cat([batch["labels"] > 0 for batch in seen]).float()
    assert (image - mask).abs().max() <= 7 / 8 + 1e-5
    wrong, elsewhere = ((image > 0.5) != (mask > 0.5)), ((image[..., 1:] > 0.5) != (mask[..., :-1] > 0.5))
    assert 3 * wrong.double().mean() < elsewhere.double().mean()
    assert ((image > 0) & (image < 1)).double().mean() > 0.1


def test_boxes_are_not_rotated_and_whole_volumes_are(data, tmp_path):
    for name, value in (("rotate", 10.0), ("scale", (0.9, 1.1))):
        with pytest.raises(ValueError, match=f"--{name}: expected .* for localize"):
            localize(data, tmp_path / "run", **{name: value})
    with pytest.raises(ValueError, match="--rotate: expected a number from 0 to 180, got 200"):
        classify(data, tmp_path / "run", rotate=200.0)
    with pytest.raises(ValueError, match="--augment-probability: expected a number from 0 to 1, got 2"):
        classify(data, tmp_path / "run", augment_probability=2.0)
    config = classify(data, tmp_path / "run", rotate=30.0, noise=0.3, gamma=0.4, augment_probability=1.0)
    assert config.augments == ["rotated by up to 30°", "gamma of e^±0.4", "noise of up to 0.3"]
    run = prepared(config)
    one, plain = (
        next(batches(kind, run.task, run.training, 1))["image"] for kind in (config, replace(config, rotate=0.0))
    )
    assert one.shape == plain.shape
    assert (one != plain).any((1, 2, 3, 4)).all()


def test_crops_are_centred_on_rare_classes_as_often_as_on_large_ones():
    labels = np.zeros((32, 32, 32), np.uint8)
    labels[:, :, 16:] = 1
    labels[3, 4, 5] = 2
    weights = class_map(labels, lambda values: np.stack([values == 1, values == 2])).astype(float)
    assert weights.shape == tuple(-(-32 // cell_edge(32)) for _ in range(3))
    small = weights[3 // 2, 4 // 2, 5 // 2]
    assert small == weights.max()
    assert small / weights.sum() == pytest.approx(0.5, abs=0.001)
    assert not class_map(labels * 0, lambda values: np.stack([values == 1])).any()


@pytest.mark.parametrize(("flips", "shift"), [((), 0), (("D", "H", "W"), 0), (("H",), 5), (("D", "W"), 3)], ids=str)
def test_boxes_are_where_the_image_shows_them(tmp_path, flips, shift):
    random = np.random.default_rng(0)
    for number in range(6):
        shape = tuple(int(n) for n in random.integers(14, 25, 3))
        labels = np.zeros(shape, np.uint8)
        low = random.integers(1, 6, 3)
        high = low + random.integers(2, 7, 3)
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
        name, stored = f"case_{number}.nii.gz", ORIENTATIONS[7 * number]
        write_nifti(tmp_path / "labels" / name, labels, orientation=stored, dtype="|u1", spacing=(1, 2, 3))
        write_nifti(tmp_path / "images" / name, labels * 100, orientation=stored, dtype="<i2", spacing=(1, 2, 3))
    config = localize(
        tmp_path,
        tmp_path / "run",
        names=None,
        split=None,
        crop=(36, 36, 36),
        flips=flips,
        shift=shift,
        topology=(36, 36, 36),
        normalize="none",
    )
    run = prepared(replace(config, filters=1))
    assert isinstance(run.task.view, TaskInput)
    for batch in batches(config, run.task, run.training, 12):
        moved = shift_images(batch["image"], batch["shift"].numpy())
        boxes = batch["boxes"].double().numpy() * 18 + 18
        for image, truth in zip(moved.numpy(), boxes, strict=True):
            np.testing.assert_allclose(box_of(image > 50), truth, atol=1e-4)


def test_shifts_are_a_function_of_seed_and_number():
    shifts = draw_shifts(7, np.arange(4000), 3)
    assert {tuple(np.unique(axis)) for axis in shifts.T} == {(-3, -2, -1, 0, 1, 2, 3)}
    assert abs(shifts.mean()) < 0.1
    np.testing.assert_array_equal(draw_shifts(7, [17, 3], 3), shifts[[17, 3]])
    assert (draw_shifts(8, np.arange(4000), 3) != shifts).any()
    assert not draw_shifts(7, np.arange(9), 0).any()
    assert (draw_shifts(7, [2**33 + 1], 1000) != draw_shifts(7, [1], 1000)).any()


def test_a_moved_image_shows_no_slab_that_tells_the_move():
    images = torch.from_numpy(np.random.default_rng(0).normal(-3, 0.1, (2, 1, 6, 7, 8)).astype("f4"))
    images[:, :, 2:4, 2:5, 3:6] = 1
    moved = shift_images(images, np.array([[1, -2, 2], [0, 0, 0]]))
    assert torch.equal(moved[1], images[1])
    wanted = np.pad(images[0, 0].numpy(), ((1, 0), (0, 2), (2, 0)), mode="edge")[:6, 2:, :8]
    np.testing.assert_array_equal(moved[0, 0].numpy(), wanted)
    # Air stays air: a constant of 0, which is the mean of the body, would stand out in it.
    assert set((moved > -1)[0, 0].sum((1, 2)).tolist()) == {0, 9}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_of_a_file_and_of_its_canonical_grid_are_one(tmp_path, orientation):
    canonical = np.zeros((9, 11, 13), np.uint8)
    canonical[2:5, 3:4, 7:12] = 1
    path = write_nifti(tmp_path / "a.nii", canonical, orientation=orientation, dtype="|u1", spacing=(1.5, 2, 4))
    image = nib.load(path)
    raw = np.asarray(image.dataobj)
    hit = np.argwhere(raw)
    box = np.stack([hit.min(0), hit.max(0) + 1]).astype(float)[None]
    geometry, _ = dali_cr.volume.reader.read_header(path)
    canonical = to_canonical(box, geometry)
    np.testing.assert_array_equal(canonical, box_of(dali_cr.read_volume(path) > 0))
    np.testing.assert_array_equal(to_file(canonical, geometry), box)
    centre = nib.affines.apply_affine(image.affine, hit).mean(0)
    np.testing.assert_allclose(centroid_mm(box, image.affine)[0], centre, atol=1e-5)
    np.testing.assert_allclose(centroid_mm(canonical[:, :, ::-1], geometry.affine)[0], centre, atol=1e-5)


def write_boxes(path: Path, *rows: str, organs=("liver", "spleen")) -> Path:
    header = ["file", "age", *(f"{organ}_{end}{axis}" for organ in organs for end in ("lo", "hi") for axis in "ijk")]
    path.write_text("\n".join([",".join(header), *rows]) + "\n")
    return path


def test_boxes_are_read_and_what_is_not_contoured_is_nan(tmp_path):
    path = write_boxes(tmp_path / "b.csv", "a.nii,61,1,2,3,4,5,6,,,,,,", "b.nii,50,,,,,,,0,0,0,1,1,1")
    organs, boxes = read_boxes(path, ())
    assert organs == ["liver", "spleen"]
    np.testing.assert_array_equal(boxes["a.nii"][0], [[1, 2, 3], [4, 5, 6]])
    assert np.isnan(boxes["a.nii"][1]).all()
    assert read_boxes(path, ("spleen",))[1]["b.nii"].shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a.nii,61,1,2,3,1,5,6,,,,,,", "lo < hi for liver of a.nii"),
        ("a.nii,61,1,2,3,4,5,,,,,,,", "six numbers for liver of a.nii"),
        ("a.nii,61,1,2,3,4,5,x,,,,,,", "six numbers for liver of a.nii"),
    ],
)
def test_a_box_that_is_none_is_refused(tmp_path, row, says):
    with pytest.raises(ValueError, match=says):
        read_boxes(write_boxes(tmp_path / "b.csv", row), ())


def test_columns_that_make_no_box_are_refused(tmp_path):
    path = write_boxes(tmp_path / "b.csv", "a.nii,61,1,2,3,4,5,6")
    with pytest.raises(ValueError, match="expected 14 columns, got 8 in line 2"):
        read_boxes(path, ())
    (tmp_path / "c.csv").write_text("file,liver_loi\na.nii,1\n")
    with pytest.raises(ValueError, match="liver_loj is missing"):
        read_boxes(tmp_path / "c.csv", ())
    (tmp_path / "d.csv").write_text("file,age\na.nii,1\n")
    with pytest.raises(ValueError, match="columns NAME_loi to NAME_hik"):
        read_boxes(tmp_path / "d.csv", ())


def test_labels_of_images_outside_of_the_split_are_nobodys_concern(data):
    index = dali_cr.scan(data / "images", progress=False)
    names = [case.name for case in index.cases]
    short = [name.split(".")[0] for name in names]
    split = Split(frozenset(short[:2]), frozenset(short[2:3]), frozenset(short[3:4]))
    joined = join(index, split, dict.fromkeys(names), "label", "refuse")
    assert {part: len(one) for part, one in joined.parts.items()} == {"train": 2, "val": 1, "test": 1}
    with pytest.raises(ValueError, match=f"{names[1]}: image without a label"):
        join(index, split, dict.fromkeys(names[:1] + names[2:]), "label", "refuse")
    with pytest.raises(ValueError, match="for some case of val, got none"):
        join(index, split, dict.fromkeys(names[:2] + names[3:]), "label", "leave")


def test_two_labels_of_one_case_are_refused():
    with pytest.raises(ValueError, match="x/a.nii and y/a.nii both match a"):
        match(["a.nii"], {"x/a.nii": 0, "y/a.nii": 0}, "label", "refuse")
    assert match(["x/a.nii"], {"a.csv": 0, "a": 0}, "row", "leave")[0] == {"x/a.nii": "a"}


def test_a_channels_number_is_no_part_of_the_name():
    assert match(["imagesTr/a_0000.nii.gz"], {"a.nii.gz": 0}, "label", "refuse")[0] == {
        "imagesTr/a_0000.nii.gz": "a.nii.gz"
    }
    assert match(["a_0001.nii"], {"a_0001.nii.gz": 0, "a.nii": 1}, "label", "leave")[0] == {
        "a_0001.nii": "a_0001.nii.gz"
    }


def test_names_of_labels(tmp_path):
    for text in ('{"1": "liver"}', '{"liver": 1}', '{"labels": {"1": "liver"}}', '{"labels": {"liver": 1}, "x": 2}'):
        (tmp_path / "n.json").write_text(text)
        assert read_names(tmp_path / "n.json") == {1: "liver"}
    (tmp_path / "n.json").write_text("[1]")
    with pytest.raises(ValueError, match='names: expected JSON as {"1": "liver"}'):
        read_names(tmp_path / "n.json")
