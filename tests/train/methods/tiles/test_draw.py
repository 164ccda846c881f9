"""Drawing of tiles: places, classes, independence of the batch, and the set of permutations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from train.methods.tiles.jigsaw import Jigsaw, fit_jigsaw
from train.methods.tiles.permutations import choose_permutations
from train.methods.tiles.position import Position, fit_position
from train.methods.tiles.tiling import Tiling

NUMBERS = np.arange(4000)

PAIRS = {
    "2-D": fit_position((1, 64, 50)),
    "3-D": fit_position((40, 32, 48)),
    "tight": fit_position((16, 16, 17), tile=(6,), gap=4, jitter=0),
    "one layer across H": fit_position((32, 1, 32), gap=8, jitter=4),
}
PUZZLES = {
    "2-D": fit_jigsaw((1, 64, 50), permutations=6),
    "3-D": fit_jigsaw((40, 32, 49), permutations=20),
    "whole cells": fit_jigsaw((12, 12, 12), tile=(6,), permutations=3),
    "one layer across H": fit_jigsaw((32, 1, 32), permutations=6),
}


@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
def test_the_second_tile_lies_where_the_class_says(pairs: Position) -> None:
    drawn = pairs.draw(3, NUMBERS)
    tile, gap, jitter = (np.array(one) for one in (pairs.tile, pairs.gap, pairs.jitter))
    assert drawn.starts.min() >= 0
    assert (drawn.starts + tile <= pairs.crop).all()
    apart = drawn.starts[:, 1] - drawn.starts[:, 0] - pairs.directions[drawn.labels] * (tile + gap)
    assert (abs(apart) <= 2 * jitter).all()
    assert (abs(drawn.starts[:, 1] - drawn.starts[:, 0]) >= tile).any(1).all()  # they never overlap
    assert (np.bincount(drawn.labels, minlength=pairs.classes) > 0.7 * len(NUMBERS) / pairs.classes).all()
    for axis, edge in enumerate(pairs.crop):
        assert abs(apart[:, axis]).max() == 2 * jitter[axis]
        assert {drawn.starts[..., axis].min(), (drawn.starts + tile)[..., axis].max()} <= {0, 1, 2, edge - 1, edge}
    assert pairs.classes == 3 ** sum(edge > 1 for edge in pairs.crop) - 1
    assert len({pairs.name(label) for label in range(pairs.classes)}) == pairs.classes


@pytest.mark.parametrize("puzzle", PUZZLES.values(), ids=PUZZLES)
def test_each_tile_lies_in_the_cell_that_the_permutation_says(puzzle: Jigsaw) -> None:
    drawn = puzzle.draw(3, NUMBERS)
    edges = np.array(puzzle.crop) // puzzle.cells
    left = (np.array(puzzle.crop) - edges * puzzle.cells) // 2
    cells, place = np.divmod(drawn.starts - left, edges)
    order = choose_permutations(puzzle.tiles, puzzle.permutations)[drawn.labels]
    np.testing.assert_array_equal(np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), puzzle.cells), order)
    assert place.min() == 0
    np.testing.assert_array_equal(place.max((0, 1)), edges - puzzle.tile)  # every place is drawn, all within the cell
    assert (np.bincount(drawn.labels, minlength=puzzle.classes) > 0.7 * len(NUMBERS) / puzzle.classes).all()
    assert puzzle.tiles == (8 if min(puzzle.crop) > 1 else 9)
    assert sorted(puzzle.mosaic.flat) == list(range(puzzle.tiles))


@pytest.mark.parametrize("tiling", [PAIRS["3-D"], PUZZLES["2-D"]], ids=["position", "jigsaw"])
def test_a_sample_depends_on_seed_and_number_alone(tiling: Tiling) -> None:
    whole = tiling.draw(5, NUMBERS[:20])
    for number in (0, 7, 19):
        alone = tiling.draw(5, [number])
        assert alone.labels[0] == whole.labels[number]
        np.testing.assert_array_equal(alone.starts[0], whole.starts[number])
    assert (tiling.draw(6, NUMBERS[:20]).labels != whole.labels).any()


def test_the_bits_of_samples_stay() -> None:
    pairs, puzzle = PAIRS["3-D"].draw(1, [0, 2**40]), PUZZLES["3-D"].draw(1, [0, 2**40])
    assert (pairs.labels.tolist(), puzzle.labels.tolist()) == ([3, 20], [19, 16])
    assert (pairs.starts[1].tolist(), puzzle.starts[1, :2].tolist()) == (
        [[1, 18, 30], [24, 17, 1]],
        [[3, 1, 1], [0, 18, 28]],
    )


@pytest.mark.parametrize(("tiles", "count"), [(4, 10), (5, 30)])
def test_permutations_are_those_of_the_published_rule(tiles: int, count: int) -> None:
    found = choose_permutations(tiles, count)
    every = np.array(list(itertools.permutations(range(tiles))))
    assert found[0].tolist() == list(range(tiles))
    for number in range(1, count):
        chosen = found[:number]
        others = np.array([one for one in every if not (one == chosen).all(1).any()])
        mean = (others[:, None] != chosen).sum(2).mean(1).max()
        assert (found[number] != chosen).sum(1).mean() == pytest.approx(mean)
    assert len({tuple(one) for one in found}) == count
    assert not found.flags.writeable


def test_permutations_of_a_grid_differ_in_most_places() -> None:
    found = choose_permutations(8, 100)
    distances = (found[:, None] != found).sum(2)[~np.eye(100, dtype=bool)]
    assert distances.min() >= 6
    assert distances.mean() > 7


@pytest.mark.parametrize(
    ("crop", "options", "says"),
    [
        ((1, 64, 64), {"tile": (30,)}, "expected two tiles of 30 voxels with a gap of 15 and a jitter of 2 to fit"),
        ((1, 64, 64), {"gap": 3, "jitter": 2}, "at most half of the gap of 3 voxels along H, .*, got 2"),
        ((1, 64, 64), {"gap": -1, "jitter": 0}, "--gap, --jitter: expected at least 0 voxels, got -1 and 0"),
        ((1, 64, 64), {"tile": (8, 8)}, "--tile: expected 1 or 3 positive numbers, got 8 8"),
        ((1, 64, 64), {"tile": (8, 8, 8)}, "--tile: expected 1 along the edges of one voxel of 1 64 64, got 8 8 8"),
        ((1, 1, 64), {}, "crop: expected two or three edges of more than one voxel for tiles, got 1 1 64"),
        ((4, 4, 4), {"gap": 4}, "to fit along D, they need 6 voxels, got a crop of 4"),
    ],
)
def test_pairs_that_do_not_fit(crop: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_position(crop, **options)


@pytest.mark.parametrize(
    ("crop", "options", "says"),
    [
        ((1, 64, 64), {"tile": (22,)}, "--tile: expected tiles within the 3 cells of 21 voxels along H, got 22"),
        ((1, 2, 64), {}, "--tile: expected tiles within the 3 cells of 0 voxels along H, got 1"),
        ((8, 64, 64), {"permutations": 1}, "--permutations: expected from 2 to 1000, got 1"),
        ((8, 64, 64), {"permutations": 1001}, "--permutations: expected from 2 to 1000, got 1001"),
        ((64, 1, 1), {}, "crop: expected two or three edges of more than one voxel for tiles, got 64 1 1"),
    ],
)
def test_puzzles_that_do_not_fit(crop: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_jigsaw(crop, **options)
