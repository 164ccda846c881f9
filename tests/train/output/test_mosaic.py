"""Mosaics of pictures, and masks drawn over images."""

import numpy as np

from train.output.mosaic import grey_columns, join
from train.output.palette import COLOURS, OPACITY, Palette, colour_of, tint


def test_slices_are_grey_in_the_range_of_their_target():
    rows = {"restored": np.array([[[0.0, 3.0]], [[5.0, 6.0]]]), "target": np.array([[[1.0, 3.0]], [[4.0, 4.0]]])}
    first, second = grey_columns(rows)
    assert [first[name].tolist() for name in rows] == [[[0, 255]], [[0, 255]]]
    assert second["target"].tolist() == [[0, 0]]


def test_each_picture_lies_in_its_row_and_column():
    large, small = np.full((200, 100), 50, np.uint8), np.full((100, 100, 3), 70, np.uint8)
    small[0] = 90
    for origin, at in (("upper", 0), ("lower", 99)):
        picture = join([{"input": large, "target": large}, {"input": small, "target": small}], origin)
        assert picture.shape == (400, 200, 3)
        assert picture[200 + at, 150].tolist() == [90] * 3
        assert picture[350, 150].tolist() == [0] * 3
        assert picture[150, 50].tolist() == [50] * 3


def test_small_pictures_are_enlarged():
    assert join([{"target": np.zeros((16, 20), np.uint8)}], "upper").shape == (96, 120, 3)


def test_a_class_has_one_colour_in_masks_and_legends():
    palette = Palette({4: "liver", 2: "spleen"}, ["heart"])
    assert [palette.colour(name) for name in ("liver", "spleen", "heart")] == list(COLOURS[:3])
    assert palette.colour(palette.name(9)) == colour_of(3 + 8)
    (pixel,) = tint(np.zeros((1, 1), np.uint8), np.array([[2]]))[0]
    assert pixel.tolist() == np.rint(OPACITY * 255 * np.array(COLOURS[1])).tolist()
