"""Test previews of samples: the arrays of a loader, with boxes at the swaps."""

import builtins

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import dali_cr
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.tools import preview
from dali_cr.tools.phantom_files import write_images, write_phantoms
from tests.helpers.recipes import finished

RECIPE = dali_cr.Restoration(crop=(12, 20, 16), swap=dali_cr.Swap(iterations=6, patch=(3, 6)), foreground=0.9)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, count=3, shape=(20, 24, 22))
    return dali_cr.scan(folder / "images", progress=False)


@pytest.fixture
def figure(monkeypatch):
    """Return the figure that the next preview draws."""
    made = []

    class Kept(Figure):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            made.append(self)

    monkeypatch.setattr(preview, "_figure_class", lambda: Kept)
    return lambda: made[-1]


def test_an_image_with_a_row_per_sample(index, tmp_path):
    heights = []
    for samples in ([0], [5, 1, 2**40]):
        preview.draw_preview(index, RECIPE, 0, samples, tmp_path / "preview.png")
        heights.append(matplotlib.image.imread(tmp_path / "preview.png").shape[0])
    assert heights[1] > 2.5 * heights[0]


def test_a_title_says_how_a_crop_is_augmented(index):
    recipe = dali_cr.Restoration((12, 20, 16), RECIPE.swap, degrees=30, scale=(0.8, 1.2), noise=0.5, gamma=0.5)
    row = preview._make(CropPlanner(index, recipe, 3), 7)
    (view,) = row.plan.views
    angles = " ".join(f"{angle:.0f}°" for angle in view.angles)
    wanted = f", rotated {angles}, scaled {view.scales[2]:.2f}, noise {view.noise:.2f}, gamma {view.gamma:.2f}"
    assert preview._describe(row.plan) == wanted
    assert preview._describe(CropPlanner(index, RECIPE, 3).plan([7])[0]) == ""


@pytest.mark.parametrize("recipe", [RECIPE, dali_cr.Restoration(crop=(1, 20, 16), swap=dali_cr.Swap(4, (3, 6)))])
def test_swapping_the_drawn_boxes_back_gives_the_target(index, recipe, tmp_path):
    row = preview._make(CropPlanner(index, recipe, 3), 7)
    assert row.target.shape == recipe.crop[1:]
    assert not np.array_equal(row.target, row.input)
    source = finished(index, recipe, 3, 1, start=7, threads=1)
    input, target, _ = source.batch(0).values()
    source.close()
    middle = recipe.crop[0] // 2
    assert np.array_equal(dali_cr.unswap_patches(input[0], row.plan.swaps), target[0])
    assert np.array_equal(row.target, target[0, 0, middle])
    assert np.array_equal(row.input, input[0, 0, middle])


def test_both_boxes_of_a_pair_have_one_colour_and_lie_where_the_swaps_are(index, figure, tmp_path):
    preview.draw_preview(index, RECIPE, 0, [4], tmp_path / "preview.png")
    boxes = [patch for patch in figure().subfigs[0].axes[2].patches if isinstance(patch, Rectangle)]
    plan = CropPlanner(index, RECIPE, 0).plan(4)[0]
    middle = RECIPE.crop[0] // 2
    wanted = [
        (float(origin[2]), float(origin[1]), int(size[2]), int(size[1]), pair)
        for pair, (a, b, size) in enumerate(plan.swaps)
        for origin in (a, b)
        if origin[0] <= middle < origin[0] + size[0]
    ]
    assert wanted
    drawn = [(box.get_x() + 0.5, box.get_y() + 0.5, box.get_width(), box.get_height()) for box in boxes]
    assert drawn == [box[:4] for box in wanted]
    colours: dict[int, set[str]] = {}
    for box, (*_, pair) in zip(boxes, wanted, strict=True):
        colours.setdefault(pair, set()).add(to_hex(box.get_edgecolor()))
    assert all(len(colour) == 1 for colour in colours.values())
    assert len(set.union(*colours.values())) == len(colours)


def test_title_names_the_sample_and_both_images_have_one_range(index, figure, tmp_path):
    preview.draw_preview(index, RECIPE, 0, [4], tmp_path / "preview.png")
    plan = CropPlanner(index, RECIPE, 0).plan(4)[0]
    strip = figure().subfigs[0]
    assert strip.get_suptitle() == f"{plan.path}, sample 4, origin {plan.origin}"
    assert len({axis.images[0].get_clim() for axis in strip.axes}) == 1


@pytest.mark.parametrize("axis", "DHW")
def test_a_slice_is_drawn_as_it_lies_in_the_volume(index, axis):
    recipe = dali_cr.Restoration(
        crop=(1, 16, 16), swap=dali_cr.Swap(4, (3, 6)), flips=(), normalize=None, slices=dali_cr.Slices(axis)
    )
    row = preview._make(CropPlanner(index, recipe, 3), 5)
    volume = dali_cr.read_volume(index.root / row.plan.path)[0]
    number, top, left = row.plan.origin
    whole = np.take(volume, number, "DHW".index(axis))
    np.testing.assert_allclose(row.target, whole[top : top + 16, left : left + 16], rtol=1e-6)
    one, other = (index.cases[row.plan.case].volumes[0].spacing["DHW".index(a)] for a in "DHW" if a != axis)
    assert row.aspect == one / other


def test_images_are_drawn_from_the_top(figure, index, tmp_path):
    """Check also that volumes are drawn from the bottom, with H and D upwards."""
    recipe = dali_cr.Restoration(crop=(1, 16, 16), swap=dali_cr.Swap(4, (3, 6)))
    write_images(tmp_path, count=1, shape=(20, 24))
    images = dali_cr.scan(tmp_path, "images/*.png", progress=False)
    for some, origin in ((images, "upper"), (index, "lower")):
        preview.draw_preview(some, recipe, 0, [0], tmp_path / "preview.png")
        assert {axis.images[0].origin for axis in figure().subfigs[0].axes} == {origin}


@pytest.mark.parametrize("samples", [[], [3, -1]], ids=str)
def test_refuses_invalid_samples(index, samples, tmp_path):
    with pytest.raises(ValueError, match="expected sample numbers of at least 0"):
        preview.draw_preview(index, RECIPE, 0, samples, tmp_path / "preview.png")


def test_a_missing_matplotlib_names_the_extra(index, monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"\.\[train\]"):
        preview.draw_preview(index, RECIPE, 0, [0], tmp_path / "preview.png")


def test_masked_blocks_are_outlined_over_the_target(index, figure, tmp_path):
    recipe = dali_cr.Restoration(crop=(12, 20, 16), pretext="mae", mask_block=(2, 3, 2))
    preview.draw_preview(index, recipe, 0, [4], tmp_path / "preview.png")
    axis = figure().subfigs[0].axes[2]
    assert axis.get_xlabel() == "masked blocks"
    plan, middle = CropPlanner(index, recipe, 0).plan(4)[0], 6
    wanted = [
        (float(origin[2]), float(origin[1]), int(size[2]), int(size[1]))
        for origin, size in plan.mask
        if origin[0] <= middle < origin[0] + size[0]
    ]
    boxes = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    drawn = [(box.get_x() + 0.5, box.get_y() + 0.5, box.get_width(), box.get_height()) for box in boxes]
    assert drawn == wanted
    assert len(wanted) > 20
    row = preview._make(CropPlanner(index, recipe, 0), 4)
    masked = np.zeros((20, 16), bool)
    for column, line, wide, high in wanted:
        masked[int(line) : int(line) + high, int(column) : int(column) + wide] = True
    assert np.array_equal(row.input, np.where(masked, 0, row.target))
