"""Test plans of views: pure functions of (seed, n), with uniformly drawn boxes inside their limits."""

import itertools
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_cr
from dali_cr import Views
from dali_cr.plan.affine import reach
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.sample import AffineView, SamplePlan, views_of
from dali_cr.plan.views.boxes import ROUNDS, draw_second, partners
from dali_cr.plan.views.holes import draw_holes
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.plan.window import room, shape_at
from tests.helpers.plans import overlap_of
from tests.helpers.recipes import RADIOGRAPHS
from tests.helpers.volumes import write_nifti

SMALL = Views(
    shape=(6, 10, 12),
    sizes=((6, 10, 12), (9, 9, 12), (12, 15, 20)),
    local_shape=(4, 4, 4),
    local_sizes=((4, 4, 4), (2, 3, 4), (6, 8, 6)),
    locals=3,
    swap=dali_cr.Swap(5, 2),
    flips=("H", "W"),
    normalize=("window", 0, 120),
    foreground=0.5,
)
PLANS = 10_000


def boxes(plans: list[SamplePlan]) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and sizes, (B, V, 3)."""
    numbers = np.array([[(view.origin, view.size) for view in views_of(plan)] for plan in plans])
    return numbers[:, :, 0], numbers[:, :, 1]


def lengths_of(planner: ViewPlanner) -> np.ndarray:
    """Return the (D, H, W) of each case at the recipe's spacing."""
    return np.array([shape_at(case, planner.recipe.spacing) for case in planner.index.cases])


def draw_seconds(
    seed: int, numbers: range, boxes: tuple[np.ndarray, ...], lengths: np.ndarray, overlap: float, rounds: int = ROUNDS
) -> np.ndarray:
    """Return the origin of a second box for each number; `boxes` has origins of first boxes and both sizes."""
    origins = np.stack([boxes[0]] * 2, axis=1)
    sizes, ends = np.stack(boxes[1:], axis=1), np.empty((2, 3), np.int64)
    for number, places, edges, length in zip(numbers, origins, sizes, lengths, strict=True):
        draw_second(np.uint64(seed), np.uint64(number), places, edges, length, overlap, rounds, ends)
    return origins[:, 1]


@pytest.fixture(scope="module", params=[None, (1.5, 0.7, 1.0)], ids=["own voxels", "resampled"])
def planner(request: pytest.FixtureRequest, mixed_index: dali_cr.Index) -> ViewPlanner:
    return ViewPlanner(mixed_index, replace(SMALL, spacing=request.param), 3)


@pytest.fixture(scope="module")
def plans(planner: ViewPlanner) -> list[SamplePlan]:
    return list(planner.plan(np.arange(PLANS)))


def test_global_views_overlap_and_contain_the_local_ones(planner: ViewPlanner, plans: list[SamplePlan]) -> None:
    origins, sizes = boxes(plans)
    assert (overlap_of(origins[:, 0], sizes[:, 0], origins[:, 1], sizes[:, 1]) > SMALL.overlap).all()
    low, high = origins[:, :2].min(1)[:, None], (origins + sizes)[:, :2].max(1)[:, None]
    assert (origins[:, 2:] >= low).all()
    assert ((origins + sizes)[:, 2:] <= high).all()


def test_boxes_lie_in_the_volume_or_are_centred(planner: ViewPlanner, plans: list[SamplePlan]) -> None:
    origins, sizes = boxes(plans)
    lengths = lengths_of(planner)[[plan.case for plan in plans]][:, None]
    spare = lengths - sizes
    assert ((origins >= 0) & (origins <= spare))[spare >= 0].all()
    assert (origins == -((-spare) // 2))[spare < 0].all()
    assert (spare < 0).any()


def test_sizes_and_shapes_are_of_the_recipe(plans: list[SamplePlan]) -> None:
    _, sizes = boxes(plans)
    for part, asked in ((sizes[:, 0], SMALL.sizes), (sizes[:, 2:].reshape(-1, 3), SMALL.local_sizes)):
        values, counts = np.unique(part, axis=0, return_counts=True)
        assert {tuple(size) for size in values.tolist()} == set(asked)
        share = counts / len(part)
        assert (np.abs(share - 1 / 3) < 5 * math.sqrt(2 / 9 / len(part))).all()
    assert {view.shape for view in plans[0].views[:2]} == {SMALL.shape}
    assert {view.shape for view in plans[0].views[2:]} == {SMALL.local_shape}


def test_parameters_of_a_view_are_uniform(plans: list[SamplePlan]) -> None:
    views = [view for plan in plans for view in views_of(plan)]
    drawn = {
        "angles": (np.array([v.angles for v in views]), -10, 10),
        "scales": (np.array([v.scales for v in views]), 0.9, 1.1),
        "blur": (np.array([v.blur for v in views]), 0, 2),
        "noise": (np.array([v.noise for v in views])[:, None], 0, 0.25),
        "gamma": (np.log([v.gamma for v in views])[:, None], -0.3, 0.3),
    }
    for name, (values, low, high) in drawn.items():
        assert values.min() >= low - 1e-6, name
        assert values.max() <= high + 1e-6, name
        for axis in values.T:
            counts = np.histogram(axis, 20, (low - 1e-6, high + 1e-6))[0]
            assert np.abs(counts / len(views) - 0.05).max() < 5 * math.sqrt(0.05 / len(views)), name
    together = np.concatenate([values for values, _, _ in drawn.values()], axis=1)
    assert np.abs(np.corrcoef(together.T) - np.eye(together.shape[1])).max() < 5 / math.sqrt(len(views))
    flips = np.array([v.flips for v in views])
    assert not flips[:, 0].any()
    assert (np.abs(flips[:, 1:].mean(0) - 0.5) < 2.5 / math.sqrt(len(views))).all()


def test_views_of_a_sample_differ(plans: list[SamplePlan]) -> None:
    angles = np.array([[view.angles for view in views_of(plan)] for plan in plans])[..., 0]
    assert np.abs(np.corrcoef(angles.T) - np.eye(5)).max() < 5 / math.sqrt(PLANS)
    for plan in plans[:50]:
        first, second, *rest = plan.views
        assert not np.array_equal(first.swaps, second.swaps)
        assert all(view.swaps.shape == (0, 3, 3) for view in rest)
    assert np.array_equal(plans[7].swaps, dali_cr.draw_swaps(3, 7, SMALL.shape, SMALL.swap))


def test_views_of_one_slice_stay_in_it(mixed_index: dali_cr.Index) -> None:
    flat = replace(
        SMALL,
        shape=(1, 10, 12),
        sizes=((1, 10, 12), (1, 9, 12), (1, 15, 20)),
        local_shape=(1, 4, 4),
        local_sizes=((1, 4, 4), (1, 8, 6)),
        swap=dali_cr.Swap(5, (1, 2, 2)),
        flips=("D", "H", "W"),
    )
    planner = ViewPlanner(mixed_index, flat, 3)
    plans = list(planner.plan(np.arange(PLANS)))
    origins, sizes = boxes(plans)
    depths = lengths_of(planner)[[plan.case for plan in plans], 0]
    assert (sizes[..., 0] == 1).all()
    assert (origins[..., 0] == origins[:, :1, 0]).all()
    assert ((origins[:, 0, 0] >= 0) & (origins[:, 0, 0] < depths)).all()
    assert {(plan.case, z) for plan, z in zip(plans, origins[:, 0, 0].tolist(), strict=True)} == {
        (case, z) for case, shape in enumerate(lengths_of(planner).tolist()) for z in range(shape[0])
    }
    assert (overlap_of(origins[:, 0], sizes[:, 0], origins[:, 1], sizes[:, 1]) > flat.overlap).all()
    for plan in plans[:500]:
        for view in views_of(plan):
            assert (view.matrix[0, 1], view.matrix[0, 2], view.matrix[1, 0], view.matrix[2, 0]) == (0, 0, 0, 0)
            assert (abs(view.matrix[0, 0]), view.offset[0], view.blur[0]) == (1, view.origin[0], 0)
            assert view.angles[0] != 0
            assert 1 not in view.scales[1:]


def test_boxes_have_their_share_of_the_area_anywhere_in_the_slice(mixed_index: dali_cr.Index) -> None:
    planner = ViewPlanner(mixed_index, RADIOGRAPHS, 3)
    plans = list(planner.plan(np.arange(3000)))
    origins, sizes = boxes(plans)
    lengths = lengths_of(planner)[[plan.case for plan in plans]][:, None]
    assert (sizes[..., 0] == 1).all()
    assert (origins[..., 0] == origins[:, :1, 0]).all()
    assert ((origins >= 0) & (origins + sizes <= lengths)).all()
    whole = lengths[..., 1:].prod(-1)
    shares, ratios = sizes.prod(-1) / whole, np.log(sizes[..., 2] / sizes[..., 1])
    # Rounding of edges of at least 4 voxels changes shares and ratios by up to an eighth.
    assert (shares[:, :2].min() > 0.25, shares[:, 2:].max() < 0.35, shares[:, 2:].min() < 0.08) == (True,) * 3
    large = sizes[..., 1:].min(-1) > 12
    assert np.abs(ratios[large]).max() < math.log(4 / 3) + 0.1
    assert abs(ratios[large].mean()) < 0.05
    apart = overlap_of(origins[:, 0], sizes[:, 0], origins[:, 1], sizes[:, 1])
    assert apart.min() < 0.1


def test_a_slice_too_narrow_for_its_share_gives_the_largest_box() -> None:
    index = _index_of((1, 200, 10))
    recipe = replace(RADIOGRAPHS, area=(0.9, 1.0), local_area=(0.9, 1.0))
    assert set(map(tuple, boxes(list(ViewPlanner(index, recipe, 3).plan(range(9))))[1].reshape(-1, 3).tolist())) == {
        (1, 13, 10)
    }


def test_holes_have_their_centre_in_the_view_and_are_cut_at_its_border() -> None:
    holes = draw_holes(3, np.arange(2000), (1, 20, 30), (2, 8), 2)
    assert np.array_equal(holes[7:9], draw_holes(3, np.array([7, 8]), (1, 20, 30), (2, 8), 2))
    origins, middles, sizes = np.moveaxis(holes.reshape(-1, 3, 3), 1, 0)
    assert not middles.any()
    assert (sizes[:, 0] == 1).all()
    assert ((origins >= 0) & (origins + sizes <= (1, 20, 30))).all()
    for axis, length in ((1, 20), (2, 30)):
        start = np.where(origins[:, axis] > 0, origins[:, axis], sizes[:, axis] - 8)
        counts = np.bincount(start + 4, minlength=length) / len(start)
        assert len(counts) == length
        assert np.abs(counts - 1 / length).max() < 5 * math.sqrt(1 / length / len(start))
    flat = holes.reshape(2000, 4, 9)
    assert (flat[:, 0] != flat[:, 1]).any(1).mean() > 0.9


def test_blur_brightness_and_contrast_are_drawn_by_view(mixed_index: dali_cr.Index) -> None:
    plans = list(ViewPlanner(mixed_index, RADIOGRAPHS, 3).plan(np.arange(2000)))
    views = [view for plan in plans for view in views_of(plan)]
    blur = np.array([view.blur for view in views])
    assert (blur[:, 0] == 0).all()
    assert (blur[:, 1] == blur[:, 2]).all()
    drawn = np.stack([blur[:, 1] > 0, [view.contrast_first for view in views]]).astype(float)
    factors = np.array([(view.brightness, view.contrast) for view in views]).T
    bound = 5 / math.sqrt(len(views))
    assert (np.abs(drawn.mean(1) - 0.5) < bound / 2).all()
    assert (np.abs(factors.mean(1) - 1) < bound * 0.4).all()
    assert (factors.min() >= 0.6 - 1e-6, factors.max() <= 1.4 + 1e-6, np.ptp(factors) > 0.79) == (True,) * 3
    assert np.abs(np.corrcoef([*drawn, *factors]) - np.eye(4)).max() < bound


def same(one: SamplePlan, other: SamplePlan) -> bool:
    alike = (one.number, one.case, one.path, one.attempt) == (other.number, other.case, other.path, other.attempt)
    return alike and all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for a, b in zip(one.views, other.views, strict=True)
        for field in fields(AffineView)
    )


def test_plans_do_not_depend_on_the_batch(planner: ViewPlanner, plans: list[SamplePlan]) -> None:
    again = ViewPlanner(planner.index, planner.recipe, 3)
    for number in (0, 7, 4321):
        assert same(plans[number], again.plan([number])[0])
    assert all(map(same, plans[100:164], list(again.plan(np.arange(100, 164)))))
    mixed = list(again.plan([2**33, 5, 0]))
    assert same(mixed[0], again.plan(2**33)[0])
    assert same(mixed[2], plans[0])
    assert not same(plans[0], ViewPlanner(planner.index, planner.recipe, 4).plan(0)[0])


def test_more_local_views_leave_the_others_as_they_are(planner: ViewPlanner, plans: list[SamplePlan]) -> None:
    more = list(ViewPlanner(planner.index, replace(planner.recipe, locals=5), 3).plan(range(20)))
    for plan, other in zip(plans, more, strict=False):
        for one, two in zip(views_of(plan), views_of(other), strict=False):
            assert np.array_equal(one.matrix, two.matrix)
            assert one.origin == two.origin


def test_cases_are_those_of_crops_and_broken_ones_are_drawn_again(mixed_index: dali_cr.Index) -> None:
    planner = ViewPlanner(mixed_index, replace(SMALL, crops_per_volume=3), 3)
    crops = CropPlanner(mixed_index, dali_cr.Restoration((8, 8, 8), dali_cr.Swap(0), crops_per_volume=3), 3)
    assert planner.epoch_length == crops.epoch_length == 3 * len(mixed_index)
    for broken in ((), (2, 5)):
        ours, theirs = list(planner.plan(range(60), broken)), list(crops.plan(range(60), broken))
        assert [(p.case, p.attempt) for p in ours] == [(p.case, p.attempt) for p in theirs]


def test_the_first_box_is_centred_on_foreground(tmp_path: Path) -> None:
    numbers = np.zeros((64, 48, 40))
    numbers[40:56, 8:12, 30:33] = np.random.default_rng(0).integers(1, 99, (16, 4, 3))
    write_nifti(tmp_path / "v.nii", numbers, spacing=(1, 2, 3))
    index = dali_cr.scan(tmp_path, progress=False)
    box = np.array([[30, 8, 40], [33, 12, 56]])
    cells = np.array([3, 3, 4])
    for spacing, factor in ((None, (1, 1, 1)), ((1, 1, 1), (3, 2, 1))):
        recipe = replace(SMALL, sizes=((8, 8, 8),), foreground=1.0, spacing=spacing)
        origins, _ = boxes(list(ViewPlanner(index, recipe, 0).plan(np.arange(500))))
        centres = (origins[:, 0] + 4) / factor
        assert (centres >= box[0] - cells).all()
        assert (centres < box[1] + cells).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=2, max_size=2),
    st.tuples(*[st.integers(1, 10)] * 3),
    st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.75, 0.95]),
    st.integers(0, 2**16),
)
def test_the_second_box_reaches_every_place_that_overlaps_enough_and_no_other(
    sizes: list[tuple[int, int, int]], lengths: tuple[int, int, int], overlap: float, seed: int
) -> None:
    ends = [room(size, length) for size, length in zip(sizes[0], lengths, strict=True)]
    origin = np.array([np.random.default_rng(seed).integers(low, high + 1) for low, high in ends])
    allowed, counts = partners((sizes[0], sizes[1]), overlap)
    ends = [room(size, length) for size, length in zip(sizes[1], lengths, strict=True)]
    places = itertools.product(*(range(low, high + 1) for low, high in ends))
    good = {place for place in places if overlap_of(origin, sizes[0], place, sizes[1]) > overlap}
    # A pair of sizes is drawn exactly if it has a valid position, for any volume and first box.
    assert (1 in allowed[0, : counts[0]]) == bool(good)
    if not good:
        return
    count = 400
    *given, volumes = (np.repeat([triple], count, 0) for triple in (origin, *sizes, lengths))
    found = set(map(tuple, draw_seconds(seed, range(count), tuple(given), volumes, overlap).tolist()))
    assert found <= good
    if len(good) <= 20:
        assert found == good
    last = draw_seconds(seed, range(count), tuple(given), volumes, overlap, rounds=0)
    assert tuple(last[0].tolist()) in good


def test_the_second_box_is_even_over_its_places() -> None:
    count = 60_000
    first, size, lengths = (np.repeat([triple], count, 0) for triple in ((2, 0, 1), (4, 3, 5), (9, 4, 7)))
    drawn = draw_seconds(1, range(count), (first, size, size), lengths, 0.2)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    expected = count / len(counts)
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - (len(counts) - 1)) < 5 * math.sqrt(2 * len(counts))


def test_rounds_are_few() -> None:
    """Check that with the authors' sizes nearly every second box is found in the first round."""
    count = 4000
    generator = np.random.default_rng(0)
    sizes = np.array(Views().sizes)[generator.integers(0, 4, (2, count))]
    sizes = sizes[:, overlap_of(np.zeros(3, int), sizes[0], np.zeros(3, int), sizes[1]) > 0.3]
    lengths = np.repeat([[200, 240, 240]], sizes.shape[1], 0)
    first = generator.integers(0, lengths - sizes[0] + 1)
    none, one, eight, all_ = (
        draw_seconds(0, range(len(first)), (first, *sizes), lengths, 0.3, rounds) for rounds in (0, 1, 8, ROUNDS)
    )
    assert 0 < (one != all_).any(1).mean() < 0.02
    np.testing.assert_array_equal(one[(one != all_).any(1)], none[(one != all_).any(1)])
    np.testing.assert_array_equal(eight, all_)


def test_the_map_of_an_untouched_view_is_the_box() -> None:
    plain = replace(SMALL, sizes=(SMALL.shape,), scale=0, degrees=0, flips=(), foreground=0)
    for size in (SMALL.shape, (12, 20, 24)):
        recipe = replace(plain, sizes=(size,))
        planner = ViewPlanner(_index_of((25, 31, 40)), recipe, 0)
        for view in (view for plan in list(planner.plan(range(20))) for view in views_of(plan)[:2]):
            factor = np.array(size) / SMALL.shape
            np.testing.assert_array_equal(view.matrix, np.diag(factor))
            np.testing.assert_array_equal(view.offset, np.array(view.origin) + (factor - 1) / 2)


def test_flips_turn_the_box_over() -> None:
    recipe = replace(SMALL, sizes=(SMALL.shape,), scale=0, degrees=0, flips=("D", "H", "W"))
    plans = ViewPlanner(_index_of((25, 31, 40)), recipe, 0).plan(range(20))
    for view in (view for plan in plans for view in views_of(plan)[:2]):
        signs = np.where(view.flips, -1, 1)
        np.testing.assert_array_equal(view.matrix, np.diag(signs))
        last = np.add(view.origin, SMALL.shape) - 1
        np.testing.assert_array_equal(view.offset, np.where(view.flips, last, view.origin))


def test_maps_turn_about_the_centre_in_mm() -> None:
    spacing = np.array([3.0, 0.5, 1.0])
    index = _index_of((25, 31, 40), tuple(spacing))
    for asked in (None, (2.0, 1.0, 0.8)):
        units = spacing if asked is None else np.array(asked)
        for plan in list(ViewPlanner(index, replace(SMALL, spacing=asked, degrees=90.0), 0).plan(range(30))):
            for view in views_of(plan):
                middle = (np.array(view.shape) - 1) / 2
                centre = (np.array(view.origin) + np.array(view.size) / 2) * units / spacing - 0.5
                np.testing.assert_allclose(view.matrix @ middle + view.offset, centre, atol=1e-9)
                # From mm of the view's box to mm of the volume it is a rotation.
                steps = np.array(view.size) / view.shape * units / view.scales * np.where(view.flips, -1, 1)
                turn = spacing[:, None] * view.matrix / steps
                np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
                assert np.linalg.det(turn) > 0
                d, h, w = (turn_about(axis, math.radians(angle)) for axis, angle in enumerate(view.angles))
                np.testing.assert_allclose(turn, d @ h @ w, atol=1e-12)


def turn_about(axis: int, angle: float) -> np.ndarray:
    """Return the matrix of a rotation from the next axis to the one after it."""
    matrix, (a, b) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    matrix[[a, b], [a, b]] = math.cos(angle)
    matrix[a, b], matrix[b, a] = -math.sin(angle), math.sin(angle)
    return matrix


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_a_view_reaches_holds_every_corner_it_is_interpolated_from(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape, lengths = ((*generator.integers(1, 9, 3).tolist(),) for _ in range(2))
    matrix, offset = generator.normal(0, 1, (3, 3)), generator.normal(3, 4, 3)
    start, stop = reach(matrix, offset, shape, lengths)
    assert all(0 <= a < b <= n for a, b, n in zip(start, stop, lengths, strict=True))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    corners = np.floor(grid @ matrix.T + offset)[:, None] + np.array(list(itertools.product((0, 1), repeat=3)))
    inside = corners[((corners >= 0) & (corners < lengths)).all(-1)]
    assert ((inside >= start) & (inside < stop)).all()


def _index_of(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1, 1, 1)) -> dali_cr.Index:
    """Return an index of one volume."""
    import tempfile

    numbers = np.random.default_rng(0).integers(1, 99, shape[::-1])
    with tempfile.TemporaryDirectory() as folder:
        write_nifti(Path(folder) / "v.nii", numbers, spacing=spacing[::-1])
        return dali_cr.scan(folder, progress=False)
