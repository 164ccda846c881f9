"""What is drawn over an image lies where it was predicted, and says whether the slice cuts it."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from train.output.overlay_figure import Drawing, _draw_box

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
