"""Test the placement of packed boxes and whole volumes against single voxels, in all orientations."""

from itertools import product

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.sources.placement import Placement, pack
from tests.helpers.volumes import ORIENTATIONS, write_nifti


@pytest.fixture(scope="module", params=[(4, 5, 6), (1, 5, 6), (4, 1, 1), (1, 1, 3), (1, 2, 1), (3, 3, 3)], ids=str)
def turned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return a volume of a shape (x, y, z) in all orientations, with alternating item sizes."""
    folder = tmp_path_factory.mktemp("turned")
    numbers = np.arange(np.prod(request.param)).reshape(request.param) + 1
    for number, orientation in enumerate(ORIENTATIONS):
        dtype = ("|u1", ">i2", "<f4", ">f8")[number % 4]
        write_nifti(folder / f"{number:02}.nii", numbers, orientation=orientation, dtype=dtype)
    return dali_cr.scan(folder, include="*", progress=False)


def read(memory: np.ndarray, dtype: np.dtype, first: int, strides: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the voxels of a box, each read at its address."""
    found = [
        memory[at : at + dtype.itemsize].view(dtype)[0]
        for place in product(*map(range, *box.tolist()))
        for at in [first + dtype.itemsize * int(np.dot(strides, place))]
    ]
    return np.array(found).reshape(box[1] - box[0])


def test_packed_boxes_are_found_where_the_placement_says(turned: dali_cr.Index) -> None:
    rng, placement = np.random.default_rng(0), Placement(turned)
    cases = np.arange(len(turned))
    shape = np.array(turned.cases[0].shape)
    for case in turned.cases:
        assert case.shape == tuple(shape)
    low = np.array([[rng.integers(0, n) for n in shape] for _ in cases])
    high = np.array([[rng.integers(a + 1, n + 1) for a, n in zip(row, shape, strict=True)] for row in low])
    for boxes in (np.stack([low, high], 1), np.array([[[0, 0, 0], shape.tolist()]] * len(cases))):
        starts = rng.integers(0, 5, (len(cases), 1)) * 16
        firsts, strides = placement.boxes(cases, boxes, starts)
        for i, case in enumerate(turned.cases):
            volume = case.volumes[0]
            content = np.fromfile(turned.root / volume.data, np.uint8)
            start, stop = (tuple(edge) for edge in boxes[i].tolist())
            raw = volume.geometry.view(content, volume.frame, start, stop)
            row = np.full(1 << 12, 0xA5, np.uint8)
            pack(raw, row[starts[i, 0] :])
            assert (row[: starts[i, 0]] == 0xA5).all()
            assert (row[starts[i, 0] + raw.nbytes :] == 0xA5).all()
            found = read(row, raw.dtype, int(firsts[i, 0]), strides[i, 0], boxes[i])
            np.testing.assert_array_equal(found, raw)
            whole = dali_cr.read_volume(turned.root / volume.path)[0]
            np.testing.assert_array_equal(found, whole[tuple(map(slice, start, stop))])


def test_whole_volumes_are_found_as_they_lie_in_the_file(turned: dali_cr.Index) -> None:
    placement, cases = Placement(turned), np.arange(len(turned))[::-1].copy()
    offsets = 16 * np.arange(len(cases))[:, None]
    firsts, strides = placement.whole(cases, offsets)
    for i, case in enumerate(cases):
        volume = turned.cases[case].volumes[0]
        geometry = volume.geometry
        voxels = np.fromfile(turned.root / volume.data, np.uint8)[geometry.data_offset :]
        memory = np.concatenate([np.zeros(offsets[i, 0], np.uint8), voxels])
        box = np.array([(0, 0, 0), geometry.shape])
        found = read(memory, geometry.numpy_dtype, int(firsts[i, 0]), strides[i, 0], box)
        np.testing.assert_array_equal(found, dali_cr.read_volume(turned.root / volume.path)[0])


def test_the_shape_counts_channels(channel_index: dali_cr.Index) -> None:
    placement = Placement(channel_index)
    cases = np.array([3, 0, 0])
    assert placement.of(cases) == (3, 2)
    firsts, strides = placement.whole(cases, np.zeros((3, 2), np.int64))
    assert (firsts.shape, strides.shape) == ((3, 2), (3, 2, 3))
    assert strides[1].tolist() == [list(v.geometry.strides) for v in channel_index.cases[0].volumes]
