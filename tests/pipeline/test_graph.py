"""The DALI graphs: the GPU's exact shape on the CPU, with the kernels emulated, against the CPU's fast path."""

from dataclasses import replace

import numpy as np
import pytest
from nvidia.dali import fn as dali_fn
from nvidia.dali import pipeline_def

import dali_cr
from dali_cr.pipeline import graph as graphs
from dali_cr.pipeline.raw import RawSource
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.stream import Stream
from tests.cuda_on_cpu.host import HostCuda

RECIPE = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), flips=("D", "H", "W"), foreground=0.5)
RECIPES = {
    "zscore": RECIPE,
    "percentile, float16": replace(RECIPE, normalize="percentile", dtype="float16"),
    "window, thick crop": replace(RECIPE, normalize=("window", 0, 100), crop=(45, 8, 41)),
    "plain, thin crop": replace(RECIPE, normalize=None, crop=(1, 33, 7)),
    "no swaps": replace(RECIPE, swap=dali_cr.Swap(0, 2)),
    "inpaint": replace(RECIPE, pretext="inpaint"),
    "inpaint, plain": replace(RECIPE, pretext="inpaint", normalize=None),
    "inpaint, float16": replace(RECIPE, pretext="inpaint", normalize=("window", 0, 100), dtype="float16"),
    "resampled": replace(RECIPE, spacing=(1.3, 0.8, 0.6)),
    "resampled, float16": replace(RECIPE, spacing=(0.7, 1.0, 1.2), normalize=("window", 0, 100), dtype="float16"),
    "autoencode": replace(RECIPE, pretext="autoencode"),
}


def arrays(outputs: tuple) -> list[np.ndarray]:
    return [np.array(output.as_array()) for output in outputs]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
def test_the_gpus_graph_equals_the_fast_path(
    name: str, recipe: dali_cr.Restoration, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    fast = dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7)
    source = RawSource(CropPlanner(index, recipe, 7), Stream(3))
    exact = graphs.build_pipeline(source, "cpu")
    for _ in range(6):
        for one, other in zip(arrays(fast.run()), arrays(exact.run()), strict=True):
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()
    source.close()


def test_in_a_users_own_pipeline(mixed_index: dali_cr.Index) -> None:
    @pipeline_def(batch_size=4, num_threads=2, device_id=None)
    def mine() -> tuple:
        raw, records, swaps, sample = dali_cr.fn.read_samples(mixed_index, RECIPE, batch_size=4, seed=7)
        target = dali_cr.fn.decode_volume(raw, records, RECIPE.crop)
        brighter = target * 2 + 1
        return dali_cr.fn.swap_patches(brighter, swaps), target, sample

    own, ours = mine(), dali_cr.restoration_pipeline(mixed_index, RECIPE, 4, "cpu", 7)
    own.build()
    for _ in range(4):
        swapped, target, sample = arrays(own.run())
        input, clean, number = arrays(ours.run())
        np.testing.assert_array_equal(swapped, input * 2 + 1)
        np.testing.assert_array_equal(target, clean)
        np.testing.assert_array_equal(sample, number)


def test_swaps_for_data_of_ones_own() -> None:
    """Any real dtype, and samples of other shapes than one another."""
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


def test_a_file_that_breaks_is_named(mixed_index: dali_cr.Index) -> None:
    gone = replace(mixed_index, root=mixed_index.root / "gone")
    pipe = dali_cr.restoration_pipeline(gone, RECIPE, 4, "cpu")
    with pytest.raises(dali_cr.VolumeError, match="No such file"):
        pipe.run()


def test_swaps_that_cannot_be_raise_when_the_graph_is_made() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dali_cr.fn.draw_swaps((8, 8, 8), dali_cr.Swap(1, 5), batch_size=1)


def test_arguments_that_cannot_be_raise_when_the_graph_is_made() -> None:
    with pytest.raises(ValueError, match="seed: wanted an integer"):
        dali_cr.fn.draw_swaps((8, 8, 8), dali_cr.Swap(1, 2), batch_size=1, seed=-1)
    with pytest.raises(ValueError, match="seed: wanted an integer"):
        dali_cr.fn.finish_views(*[None] * 6, dali_cr.Views(), seed=2**64)
    with pytest.raises(ValueError, match="dtype: wanted 'float32' or 'float16', got 'float64'"):
        dali_cr.fn.decode_volume(None, None, (8, 8, 8), dtype="float64")


@pytest.mark.parametrize(("device", "number"), [("cpu", None), ("cuda", 0), ("cuda:3", 3)])
def test_devices(device: str, number: int | None) -> None:
    assert graphs.device_number(device) == number
