"""Mosaics of pictures, and masks drawn over images."""

import numpy as np

from train.output.mosaic import grey_columns, join
from train.output.outline import outline
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


def test_captions_are_at_the_bottom_of_their_column_and_cut_to_its_width():
    columns = [{"image": np.zeros((100, 100), np.uint8)}] * 2
    plain, written = join(columns, "upper"), join(columns, "upper", [("target a", "predicted b"), ("", 99 * "long")])
    rows, places = np.nonzero((plain != written).any(-1))
    assert rows.min() > 60
    assert places.min() < 10
    assert join(columns, "upper", [(99 * "long",)])[50:, 100:].max() == 0


def test_boxes_are_outlined_inside_the_image_and_dashed_beside_their_slice():
    image, box = np.zeros((30, 40), np.uint8), np.array([[2.0, 5.0, 6.0], [4.0, 25.0, 50.0]])
    solid, dashed = (outline(image, [np.full((2, 3), np.nan), box], at).any(-1) for at in (2, 4))
    rows, columns = np.nonzero(solid)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 24, 6, 39)
    assert not solid[6:24, 7:].any()
    assert 0 < dashed.sum() < solid.sum()
    assert not (dashed & ~solid).any()
    colour = outline(image, [np.full((2, 3), np.nan), box], 2)[5, 6]
    assert colour.tolist() == np.rint(255 * np.array(COLOURS[1])).tolist()


def test_a_class_has_one_colour_in_masks_and_legends():
    palette = Palette({4: "liver", 2: "spleen"}, ["heart"])
    assert [palette.colour(name) for name in ("liver", "spleen", "heart")] == list(COLOURS[:3])
    assert palette.colour(palette.name(9)) == colour_of(3 + 8)
    (pixel,) = tint(np.zeros((1, 1), np.uint8), np.array([[2]]))[0]
    assert pixel.tolist() == np.rint(OPACITY * 255 * np.array(COLOURS[1])).tolist()
