"""Several data sets in one loader: each by its own normalisation and spacing, in the shares asked for, resumable."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.recipes import make_samples
from tests.helpers.recipes import PAIRS, VIEWS, contents, loader, samples
from tests.helpers.volumes import write_nifti

WEIGHTS = {"brains": 2, "cts": 1}
NORMALIZE: dict[str, Any] = {"brains": "percentile", "cts": ("window", 0, 60)}
SPACING: dict[str, Any] = {"brains": None, "cts": (2.0, 1.1, 0.9)}
RECIPES: dict[str, Any] = {"pairs": replace(PAIRS, dtype="float16"), "views": VIEWS}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    top, indexes = tmp_path_factory.mktemp("datasets"), {}
    for name, dtype, spacing, count in (("brains", "<f4", (1.0, 1.0, 1.0), 5), ("cts", ">i2", (0.8, 0.9, 2.5), 3)):
        for i in range(count):
            random = np.random.default_rng(10 * len(name) + i)
            grid = random.normal(50, 30, tuple(random.integers(16, 30, 3)))
            grid[:4] = 0
            write_nifti(top / name / f"{i}.nii", grid, dtype=dtype, spacing=spacing, orientation="LPS")
        indexes[name] = dali_cr.scan(top / name, progress=False)
    return dali_cr.Index.concat(indexes)


@pytest.mark.parametrize("name", RECIPES)
def test_two_data_sets_in_one_run(index: dali_cr.Index, each_device: str, name: str) -> None:
    """Samples are those of a run in which all data sets had the values of their own one; a resumed run has the same."""
    plain = RECIPES[name]
    mixed = replace(plain, normalize=NORMALIZE, spacing=SPACING)
    with loader(index, mixed, weights=WEIGHTS) as stream:
        known = samples(stream, 2)
        state = stream.state_dict()
        known |= samples(stream, 2)
        of = {n: index.cases[stream.plan(n).case].dataset for n in known}
    assert set(of.values()) == {"brains", "cts"}
    for dataset in WEIGHTS:
        alike = replace(plain, normalize=NORMALIZE[dataset], spacing=SPACING[dataset])
        with loader(index, alike, weights=WEIGHTS) as stream:
            got = samples(stream, 4)
        assert [n for n in known if known[n] == got[n]] == [n for n in known if of[n] == dataset]
    with loader(index, mixed, weights=WEIGHTS, batch_size=3) as resumed:
        resumed.load_state_dict(state)
        got = samples(resumed, 2)
    assert got == {n: known[n] for n in range(8, 14)}


def test_shares_of_ranks_and_epochs(index: dali_cr.Index) -> None:
    every: dict[int, bytes] = {}
    with loader(index, PAIRS, weights=WEIGHTS, batch_size=8) as alone:
        assert len(alone) == 1
        known = contents(next(iter(alone)))
        cases = alone._planner.plan(np.arange(256), swaps=False).cases
    for rank in range(2):
        with loader(index, PAIRS, weights=WEIGHTS, batch_size=2, rank=rank, world_size=2) as stream:
            every |= samples(stream, 2)
    assert every == known
    assert [index.cases[case].dataset for case in cases].count("brains") in (170, 171)


def test_slices_have_the_shares_of_their_data_sets(index: dali_cr.Index) -> None:
    flat = dali_cr.Restoration((1, 8, 8), dali_cr.Swap(0), slices=dali_cr.Slices("H", 2), crops_per_volume=3)
    planner = make_samples(index, flat, 0, {"brains": 1, "cts": 3}).planner
    slices = sum(len(dali_cr.Slices("H", 2).of(case)) for case in index.cases)
    assert planner.epoch_length == slices
    cases = planner.plan(np.arange(3 * 256)).cases.reshape(-1, 3)
    found = [index.cases[case].dataset for case in cases.ravel()]
    assert found.count("cts") == 3 * 192
    assert np.mean(cases == cases[:, :1]) > 0.7  # most of three in a row are of one volume


def test_the_state_knows_the_weights(index: dali_cr.Index) -> None:
    with loader(index, PAIRS, weights=WEIGHTS) as stream, loader(index, PAIRS) as plain:
        state = stream.state_dict()
        assert (state["format"], state["weights"]) == (3, {"brains": 2.0, "cts": 1.0})
        assert (plain.state_dict()["format"], "weights" in plain.state_dict()) == (2, False)
        for one, other in ((plain, state), (stream, plain.state_dict())):
            with pytest.raises(ValueError, match="but weights differ"):
                one.load_state_dict(other)
    with pytest.raises(ValueError, match="weights: expected none with epochs="):
        loader(index, PAIRS, weights=WEIGHTS, epochs=1)


def test_warnings_name_the_data_set(index: dali_cr.Index) -> None:
    recipe = replace(PAIRS, normalize={"brains": "zscore", "cts": ("window", 500, 600)})
    with pytest.warns(dali_cr.DataWarning, match="cts: window: 500 to 600 clips 100 %"):
        loader(index, recipe).close()
    with pytest.raises(ValueError, match="normalize: expected a value for each of the data sets brains, cts"):
        loader(index, replace(PAIRS, normalize={"brains": "zscore"}))


def test_a_preview_of_several_data_sets(index: dali_cr.Index, tmp_path: Path) -> None:
    from dali_cr.tools.preview import draw_preview

    recipe = replace(PAIRS, normalize=NORMALIZE, spacing=SPACING)
    draw_preview(index, recipe, 0, [0], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
