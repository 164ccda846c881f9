"""Overlays: drawn at the predicted position, with boxes dashed where the slice does not intersect them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from train.output.overlay_figure import Drawing, Slice, _draw_box, draw_overlay
from train.output.palette import Palette

BOXES = {"low": np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 8.0]]), "high": np.array([[5.2, 0.0, 0.0], [9.0, 5.0, 4.0]])}


@pytest.mark.parametrize(("at", "styles"), [(1, "-:"), (3, "-:"), (4, "::"), (5, ":-"), (9, "::")])
def test_a_box_that_the_slice_does_not_cut_is_dashed(at, styles):
    axes = Figure().subplots()
    for name, box in BOXES.items():
        _draw_box(axes, name, box, at, (1.0, 0.0, 0.0))
    wanted = ["dashed" if style == ":" else "solid" for style in styles]
    assert [{"-": "solid", "--": "dashed"}.get(p.get_linestyle(), p.get_linestyle()) for p in axes.patches] == wanted
    low = axes.patches[0]
    # A pixel is drawn around its number: from half before it to half after it.
    assert (low.get_x(), low.get_y(), low.get_width(), low.get_height()) == (2.5, 1.5, 5.0, 4.0)


def test_the_slice_goes_through_the_middle_of_the_boxes():
    assert Drawing(None, BOXES).slice_of(20) == int(np.mean([2.5, 7.1]))
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[4, 1:3] = 2
    assert Drawing(labels, BOXES).slice_of(6) == 4


def test_the_target_lies_beside_the_prediction_and_a_legend_names_the_classes():
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1, 2:5, 2:5] = 2
    other = labels.copy()
    other[0, 0, 0] = 7
    palette = Palette({2: "liver"}, ["heart"])
    panels = {"predicted": Drawing(labels), "target": Drawing(other, {"heart": BOXES["low"]})}
    shown = Slice(np.zeros((8, 8), np.float32), 1, (1.0, 2.0), "lower")
    figure = draw_overlay(shown, panels, palette, "case, slice 1 across D (0 to 2)")
    assert [axes.get_title() for axes in figure.axes] == ["predicted", "target"]
    assert figure.get_suptitle() == "case, slice 1 across D (0 to 2)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["liver", "label 7", "heart"]
    assert [patch.get_facecolor()[:3] for patch in legend.get_patches()] == [
        palette.colour(name) for name in ("liver", "label 7", "heart")
    ]
    mask = figure.axes[0].images[1].get_array()
    assert tuple(mask[3, 3, :3]) == palette.colour("liver")


def test_an_empty_prediction_is_drawn_where_the_target_is():
    empty = Drawing(np.zeros((5, 2, 2), np.uint8))
    labels = np.zeros((5, 2, 2), np.uint8)
    labels[3] = 1
    assert (empty or Drawing(labels)).slice_of(5) == 3
    assert Drawing(boxes=BOXES)
