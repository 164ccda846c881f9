"""Test the DALI graphs: the GPU graph with emulated kernels on the CPU against the CPU path."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nvidia.dali import fn as dali_fn
from nvidia.dali import pipeline_def

import dali_cr
from dali_cr.pipeline import graph as graphs
from dali_cr.pipeline.recipes import device_number
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.pipeline.sources.raw import RawSource
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import (
    CHANGED,
    CORRUPTED,
    INDEXES,
    PAIRS,
    PAIRS_OF,
    RADIOGRAPHS,
    RECIPES,
    SPACED,
    TURNED,
    VIEWS,
    VIEWS_OF,
    finished,
    outputs_of,
    outputs_of_whole,
    raw,
)

GRAPHS: dict[str, Any] = {**PAIRS_OF, **VIEWS_OF, **CORRUPTED, "rounded blur": replace(VIEWS, blur=1.8749999999)}


@pytest.mark.parametrize("recipe", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("name", INDEXES)
def test_the_gpus_graphs_equal_the_fast_path(
    name: str, recipe: Any, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    """Test the graph with one DALI sample per sample, and the loader's with one per batch."""
    index = request.getfixturevalue(name)
    wanted = outputs_of(dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7), 4)
    for whole in (False, True):
        source = raw(index, recipe, 7, 3, whole=whole)
        got = outputs_of_whole(source, 4) if whole else outputs_of(graphs.build_pipeline(source, "cpu"), 4)
        assert got == wanted
        source.close()


@pytest.mark.parametrize(
    "recipe", [*RECIPES.values(), SPACED, CHANGED, replace(VIEWS, blur=0), replace(VIEWS, blur=0.5)]
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_placeholder_runs(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, recipe: Any, whole: bool) -> None:
    """Test the placeholder that runs before the first batch and in place of failed batches."""
    source = raw(mixed_index, recipe, 7, 1, whole=whole)
    arrays = source.placeholder()
    for array in source.make(*(arrays[name] for name in source.names if name != "sample")):
        assert np.isfinite(array).all()
    source.close()


@pytest.mark.parametrize("kind", ["finished", "raw", "operators"])
def test_a_batch_is_made_once(
    mixed_index: dali_cr.Index, kind: str, cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[int]] = []
    for one in (FinishedSource, RawSource):
        prepare = one.prepare
        monkeypatch.setattr(one, "prepare", lambda self, n, p=prepare: (made.append(n.tolist()), p(self, n))[1])
    source = (raw if kind == "raw" else finished)(mixed_index, PAIRS, 7, 3)

    @pipeline_def(batch_size=3, num_threads=1, device_id=None)
    def mine() -> tuple:
        return dali_cr.fn.read_samples(mixed_index, PAIRS, batch_size=3, seed=7)

    pipe = mine() if kind == "operators" else graphs.build_pipeline(source, "cpu")
    pipe.build()
    for _ in range(4):
        pipe.run()
    assert len(made) == len({tuple(numbers) for numbers in made}) >= 4
    source.close()


def arrays(outputs: tuple) -> list[np.ndarray]:
    return [np.array(output.as_array()) for output in outputs]


@pytest.mark.parametrize("recipe", [PAIRS, SPACED, TURNED], ids=["pairs", "resampled", "rotated"])
def test_pairs_in_a_users_own_pipeline(mixed_index: dali_cr.Index, recipe: dali_cr.Restoration) -> None:
    @pipeline_def(batch_size=4, num_threads=2, device_id=None)
    def mine() -> tuple:
        raw, records, swaps, sample = dali_cr.fn.read_samples(mixed_index, recipe, batch_size=4, seed=7)
        target = dali_cr.fn.decode_volume(raw, records, recipe.crop)
        brighter = target * 2 + 1
        return dali_cr.fn.swap_patches(brighter, swaps), target, sample

    own, ours = mine(), dali_cr.restoration_pipeline(mixed_index, recipe, 4, "cpu", 7)
    own.build()
    for _ in range(4):
        swapped, target, sample = arrays(own.run())
        input, clean, number = arrays(ours.run())
        np.testing.assert_array_equal(swapped, input * 2 + 1)
        np.testing.assert_array_equal(target, clean)
        np.testing.assert_array_equal(sample, number)


@pytest.mark.parametrize("recipe", [VIEWS, RADIOGRAPHS], ids=["views", "holes"])
def test_views_in_a_users_own_pipeline(mixed_index: dali_cr.Index, recipe: dali_cr.Views) -> None:
    @pipeline_def(batch_size=4, num_threads=2, device_id=None)
    def mine() -> tuple:
        *read, sample = dali_cr.fn.read_views(mixed_index, recipe, batch_size=4, seed=7)
        holes = read.pop() if recipe.cutout else None
        view, target, local = dali_cr.fn.finish_views(*read, recipe, 7, holes=holes)
        return view, 1 - target, local, sample

    own, ours = mine(), dali_cr.restoration_pipeline(mixed_index, recipe, 4, "cpu", 7)
    own.build()
    for _ in range(4):
        view, inverse, local, sample = arrays(own.run())
        wanted = arrays(ours.run())
        np.testing.assert_array_equal(inverse, 1 - wanted[1])
        for one, other in zip((view, local, sample), (wanted[0], *wanted[2:]), strict=True):
            assert one.tobytes() == other.tobytes()


def test_swaps_for_other_data() -> None:
    """Test all real dtypes, and samples of different shapes."""
    swap = dali_cr.Swap(6, (1, 3))
    shapes = [(2, 8, 9, 10), (2, 9, 9, 12)]
    data = [np.random.default_rng(i).integers(0, 99, shape).astype(np.int16) for i, shape in enumerate(shapes)]

    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def mine() -> tuple:
        volumes = dali_fn.external_source(lambda: data, batch=True)
        swaps = dali_cr.fn.draw_swaps((8, 9, 10), swap, batch_size=2, seed=3)
        return dali_cr.fn.swap_patches(volumes, swaps), swaps

    pipe = mine()
    pipe.build()
    for step in range(3):
        swapped, swaps = pipe.run()
        for i in range(2):
            drawn = dali_cr.draw_swaps(3, 2 * step + i, (8, 9, 10), swap)
            np.testing.assert_array_equal(swaps.at(i), drawn)
            np.testing.assert_array_equal(swapped.at(i), dali_cr.swap_patches(data[i], drawn))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_broken_file_is_named_by_the_graph(mixed_index: dali_cr.Index, recipe: Any) -> None:
    gone = replace(mixed_index, root=mixed_index.root / "gone")
    pipe = dali_cr.restoration_pipeline(gone, recipe, 4, "cpu")
    with pytest.raises(dali_cr.VolumeError, match="No such file"):
        pipe.run()


def test_impossible_swaps_raise_when_the_graph_is_created() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dali_cr.fn.draw_swaps((8, 8, 8), dali_cr.Swap(1, 5), batch_size=1)


def test_invalid_arguments_raise_when_the_graph_is_created() -> None:
    with pytest.raises(ValueError, match="seed: expected an integer"):
        dali_cr.fn.draw_swaps((8, 8, 8), dali_cr.Swap(1, 2), batch_size=1, seed=-1)
    with pytest.raises(ValueError, match="seed: expected an integer"):
        dali_cr.fn.finish_views(*[None] * 6, dali_cr.Views(), seed=2**64)
    for recipe, holes in ((RADIOGRAPHS, None), (VIEWS, object())):
        with pytest.raises(ValueError, match="holes: expected those of read_views exactly with cutout"):
            dali_cr.fn.finish_views(*[None] * 6, recipe, 7, holes=holes)
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float16', got 'float64'"):
        dali_cr.fn.decode_volume(None, None, (8, 8, 8), dtype="float64")


@pytest.mark.parametrize(("device", "number"), [("cpu", None), ("cuda", 0), ("cuda:3", 3)])
def test_devices(device: str, number: int | None) -> None:
    assert device_number(device) == number
