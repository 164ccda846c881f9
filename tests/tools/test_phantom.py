"""Test phantoms: reproducible, readable by nibabel, with various file formats and similar anatomy."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import dali_cr
from dali_cr.tools.phantom import ORGANS, make_phantom
from dali_cr.tools.phantom_files import _STORAGES, write_images, write_phantoms

SHAPE = (24, 28, 26)


@pytest.fixture(scope="module", params=["mr", "ct"])
def study(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return request.param, write_phantoms(folder, len(_STORAGES), SHAPE, seed=5, modality=request.param)


def canonical(path):
    image = nib.as_closest_canonical(nib.load(path))
    return image.get_fdata().transpose(2, 1, 0), image


def test_files_give_the_canonical_content_back(study):
    modality, paths = study
    for number, path in enumerate(paths):
        image, labels, spacing = make_phantom(5, SHAPE, number, modality)
        stored, header = canonical(path)
        step = 0.5 if _STORAGES[number].dtype[1] != "f" else 0.0
        np.testing.assert_allclose(stored, image, atol=step * np.ptp(image) / 250 + 0.5 * (step > 0), rtol=0)
        np.testing.assert_allclose(header.header.get_zooms()[::-1], spacing, rtol=1e-6)
        stored_labels, _ = canonical(path.parents[1] / "labels" / path.name)
        np.testing.assert_array_equal(stored_labels, labels)


def test_files_differ_as_real_ones_do(study):
    headers = [nib.load(path).header for path in study[1]]
    axes = {"".join(nib.aff2axcodes(nib.load(path).affine)) for path in study[1]}
    assert axes == {storage.axes for storage in _STORAGES}
    assert len({header.get_data_dtype().newbyteorder("=") for header in headers}) == 4
    assert {header.endianness for header in headers} == {"<", ">"}
    assert {nib.load(path).dataobj.slope == 1 for path in study[1]} == {True, False}


def test_labels_lie_on_the_grid_of_their_image(study):
    for path in study[1]:
        image, labels = nib.load(path), nib.load(path.parents[1] / "labels" / path.name)
        assert image.shape == labels.shape
        np.testing.assert_array_equal(image.affine, labels.affine)


def test_same_arguments_write_the_same_bytes(tmp_path):
    once = write_phantoms(tmp_path / "once", 3, SHAPE)
    again = write_phantoms(tmp_path / "again", 3, SHAPE)
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    # A body does not depend on the number of bodies.
    assert write_phantoms(tmp_path / "one", 1, SHAPE)[0].read_bytes() == once[0].read_bytes()


def test_subjects_and_seeds_differ():
    bodies = [make_phantom(seed, SHAPE, number)[0].tobytes() for seed in (0, 1) for number in (0, 1)]
    assert len(set(bodies)) == 4


def test_every_organ_is_present_and_keeps_its_place():
    for number in range(20):
        image, labels, _ = make_phantom(1, (48, 56, 52), number)
        centres = {}
        for label, organ in enumerate(ORGANS, start=1):
            where = np.argwhere(labels == label)
            assert len(where) > 50, organ.name
            centres[organ.name] = where.mean(axis=0)
        assert centres["liver"][2] > 26 > centres["spleen"][2]
        assert centres["right kidney"][2] > centres["spine"][2] > centres["left kidney"][2]
        assert centres["spine"][1] < centres["heart"][1]
        assert centres["bladder"][0] < centres["liver"][0] < centres["heart"][0]
        assert (image[labels == 0] == 0).all()
        assert 0.2 < (labels == 0).mean() < 0.6


def test_organs_have_contrast_texture_and_noise():
    image, labels, _ = make_phantom(0, (48, 56, 52), modality="ct")
    means = [image[labels == label].mean() for label in range(1, len(ORGANS) + 1)]
    assert np.corrcoef(means, [organ.ct for organ in ORGANS])[0, 1] > 0.95
    liver = image[labels == 1 + [organ.name for organ in ORGANS].index("liver")]
    assert 10 < liver.std() < 200


@pytest.mark.parametrize("shape", [(1, 20, 17), (7, 1, 1), (9, 11, 13)])
def test_odd_shapes(shape, tmp_path):
    image, labels, spacing = make_phantom(0, shape)
    assert image.shape == labels.shape == shape
    assert image.dtype == np.float32
    assert labels.dtype == np.uint8
    assert np.isfinite(image).all()
    assert min(spacing) > 0
    stored, _ = canonical(write_phantoms(tmp_path, 1, shape)[0])
    assert stored.shape == shape


def test_images_are_upright_and_reproducible(tmp_path):
    paths = write_images(tmp_path / "once", 3, (27, 40), seed=2)
    image, labels, _ = make_phantom(2, (1, 27, 40), 1)
    with Image.open(paths[1]) as picture, Image.open(tmp_path / "once" / "labels" / paths[1].name) as organs:
        assert (picture.mode, picture.size) == ("L", (40, 27))
        np.testing.assert_allclose(np.asarray(picture)[::-1], image[0] * 255 / image.max(), atol=0.51)
        np.testing.assert_array_equal(np.asarray(organs)[::-1], labels[0])
    spine = 1 + [organ.name for organ in ORGANS].index("spine")
    assert np.argwhere(np.asarray(organs) == spine)[:, 0].mean() > 13  # posterior is at the bottom
    (again,) = write_images(tmp_path / "again", 1, (27, 40), seed=2, first=1)
    assert (again.name, again.read_bytes()) == (paths[1].name, paths[1].read_bytes())
    index = dali_cr.scan(tmp_path / "once", "**/*.png", progress=False)
    assert [case.name for case in index.cases] == [f"images/{path.name}" for path in paths]


@pytest.mark.parametrize("shape", [(3, 4), (0, 4, 4)])
def test_impossible_shapes(shape):
    with pytest.raises(ValueError, match="three positive lengths"):
        make_phantom(0, shape)
