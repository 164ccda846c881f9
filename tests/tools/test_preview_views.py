"""Test previews of views: the arrays of a loader, with outlines of the views' boxes."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

import dali_cr
from dali_cr.__main__ import main
from dali_cr.plan.sample import views_of
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.tools import preview
from dali_cr.tools import preview_views as view_preview
from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.recipes import VIEWS, VIEWS_OF, finished


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, count=3, shape=(20, 24, 22))
    return dali_cr.scan(folder / "images", progress=False)


def test_pictures_are_the_middle_slices_of_what_a_loader_gives(index: dali_cr.Index) -> None:
    row = view_preview.make_row(ViewPlanner(index, VIEWS, 3), 7)
    source = finished(index, VIEWS, 3, 1, start=7, threads=1)
    view, target, local, _ = source.batch(0).values()
    source.close()
    pictures = {name: picture for name, picture, _ in row.pictures}
    for v in range(2):
        assert np.array_equal(pictures[f"target {v + 1}"], target[0, v, 0, 3])
        assert np.array_equal(pictures[f"view {v + 1}"], view[0, v, 0, 3])
    mosaic = pictures["local views"]
    for v in range(3):
        assert np.array_equal(mosaic[:5, 5 * v : 5 * v + 4], local[0, v, 0, 2])
    volume = dali_cr.read_volume(index.root / row.plan.path)[0, row.place]
    assert np.array_equal(pictures[f"volume, slice {row.place}"], np.clip((volume + 10) / 110, 0, 1).astype(np.float32))


def test_images_are_drawn_from_the_top(tmp_path: Path, index: dali_cr.Index) -> None:
    Image.fromarray(np.arange(30 * 24, dtype=np.uint16).reshape(30, 24)).save(tmp_path / "one.png")
    pictures = dali_cr.scan(tmp_path, "*.png", progress=False)
    for index_, upwards in ((pictures, False), (index, True)):
        row = view_preview.make_row(ViewPlanner(index_, replace(VIEWS_OF["flat"], normalize="percentile"), 3), 0)
        figure = Figure()
        row.draw(figure.subfigures(1, 1))
        assert {axis.images[0].origin for axis in figure.axes} == {"lower" if upwards else "upper"}


def test_an_outline_is_where_the_slice_meets_the_box(index: dali_cr.Index) -> None:
    met = 0
    for plan in ViewPlanner(index, VIEWS, 3).plan(range(40)):
        for view, place in product(views_of(plan), (4, 9, 15)):
            points = view_preview.outline(view, place)
            ends = np.array(list(product(*((-0.5, n - 0.5) for n in view.shape)))) @ view.matrix.T + view.offset
            assert bool(len(points)) == (ends[:, 0].min() <= place <= ends[:, 0].max())
            if not len(points):
                continue
            met += 1
            canonical = np.column_stack([np.full(len(points), place), points])
            inside = np.linalg.solve(view.matrix, (canonical - view.offset).T).T
            length = np.array(view.shape)
            assert (inside > -0.5 - 1e-9).all()
            assert (inside < length - 0.5 + 1e-9).all()
            on_a_face = (np.abs(inside + 0.5) < 1e-9) | (np.abs(inside - length + 0.5) < 1e-9)
            assert (on_a_face.sum(1) >= 2).all()
            # In order around a convex polygon, all turns are in the same direction.
            edges = np.roll(points, -1, 0) - points
            following = np.roll(edges, -1, 0)
            turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
            assert (turns < 1e-9).all() or (turns > -1e-9).all()
    assert met > 100


def test_a_row_per_sample_with_outlines_and_one_range_for_targets(
    index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, **named)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(preview, "_figure_class", lambda: Kept)
    preview.draw_preview(index, VIEWS, 0, [4, 2**40], tmp_path / "views.png")
    assert len(made[0].subfigs) == 2
    axes = made[0].subfigs[0].axes
    assert len(axes) == 6
    plan = ViewPlanner(index, VIEWS, 0).plan(4)[0]
    place = view_preview.make_row(ViewPlanner(index, VIEWS, 0), 4).place
    met = [points for view in views_of(plan) if len(points := view_preview.outline(view, place))]
    drawn = [patch for patch in axes[0].patches if isinstance(patch, Polygon)]
    assert len(drawn) == len(met) > 1
    for patch, points in zip(drawn, met, strict=True):
        np.testing.assert_allclose(patch.get_xy()[:-1], points[:, ::-1])
    assert {axis.images[0].get_clim() for axis in axes[:3]} == {(0.0, 1.0)}


def test_on_the_command_line(index: dali_cr.Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(index.root), tmp_path / "deeper" / "views.png"
    options = ["--recipe", "pcrlv2", "--normalize", "percentile", "--spacing", "9", "5", "8", "--sample", "1"]
    assert main(["preview", data, "-o", str(out), *options]) == 0
    assert matplotlib.image.imread(out).ndim == 3
    capsys.readouterr()
    assert main(["preview", data, "-o", str(out), "--recipe", "pcrlv2", "--normalize", "zscore"]) == 2
    assert "targets of 0...1" in capsys.readouterr().err
    assert main(["preview", data, "-o", str(out), "--spacing", "1", "1", "-1"]) == 2
    assert "spacing: expected three positive numbers in mm" in capsys.readouterr().err
