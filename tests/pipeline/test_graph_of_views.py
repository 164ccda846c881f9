"""The DALI graph of views: the GPU's exact shape on the CPU, with the kernels emulated, against the CPU's fast path."""

from dataclasses import replace

import numpy as np
import pytest
from nvidia.dali import pipeline_def

import dali_cr
from dali_cr import Views
from dali_cr.pipeline.graph import build_pipeline
from dali_cr.pipeline.multiview import ViewRawSource
from dali_cr.plan.stream import Stream
from dali_cr.plan.views import ViewPlanner
from dali_cr.read.gpu_cache import Arena
from tests.cuda_on_cpu.host import HostCuda
from tests.pipeline.test_multiview import INDEXES, RECIPE, RECIPES
from tests.read.test_gpu_cache import total


def run(pipe: object, steps: int) -> list[list[bytes]]:
    return [[np.array(out.as_array()).tobytes() for out in pipe.run()] for _ in range(steps)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", [*RECIPES.values(), replace(RECIPE, blur=1.8749999999)], ids=[*RECIPES, "rounded"])
@pytest.mark.parametrize("name", INDEXES)
def test_the_gpus_graph_equals_the_fast_path(
    name: str, recipe: Views, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    fast = dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7)
    source = ViewRawSource(ViewPlanner(index, recipe, 7), Stream(3))
    exact = build_pipeline(source, "cpu")
    for _ in range(4):
        for one, other in zip(fast.run(), exact.run(), strict=True):
            ours, theirs = np.array(one.as_array()), np.array(other.as_array())
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert ours.tobytes() == theirs.tobytes()
    source.close()


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", INDEXES)
def test_the_same_with_volumes_kept_on_the_gpu(
    name: str, share: float, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    steps = -(-3 * len(index) // 3)
    plain = run(dali_cr.restoration_pipeline(index, RECIPE, 3, "cpu", 7), steps)
    arena = Arena(total(index) * share, index)
    source = ViewRawSource(ViewPlanner(index, RECIPE, 7), Stream(3), arena=arena)
    assert run(build_pipeline(source, "cpu"), steps) == plain
    assert arena.report()["hits"] > 0
    source.close()


@pytest.mark.parametrize("blur", [0, 0.5, 2.0])
def test_a_blank_batch_runs(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, blur: float) -> None:
    """What is run before the first batch, and in place of one whose file broke."""
    source = ViewRawSource(ViewPlanner(mixed_index, replace(RECIPE, blur=blur), 7), Stream(1))
    pipe = build_pipeline(source, "cpu", batch=lambda _: source.blank())
    view, target, local, sample = (np.array(out.as_array()) for out in pipe.run())
    assert not target.any()
    assert np.isfinite(view).all()
    assert np.isfinite(local).all()
    assert sample.tolist() == [-1]
    source.close()


def test_in_a_users_own_pipeline(mixed_index: dali_cr.Index) -> None:
    @pipeline_def(batch_size=4, num_threads=2, device_id=None)
    def mine() -> tuple:
        *read, sample = dali_cr.fn.read_views(mixed_index, RECIPE, batch_size=4, seed=7)
        view, target, local = dali_cr.fn.finish_views(*read, RECIPE, 7)
        return view, 1 - target, local, sample

    own, ours = mine(), dali_cr.restoration_pipeline(mixed_index, RECIPE, 4, "cpu", 7)
    own.build()
    for _ in range(4):
        view, inverse, local, sample = (np.array(out.as_array()) for out in own.run())
        wanted = [np.array(out.as_array()) for out in ours.run()]
        np.testing.assert_array_equal(inverse, 1 - wanted[1])
        for one, other in zip((view, local, sample), (wanted[0], *wanted[2:]), strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_file_that_breaks_is_named(mixed_index: dali_cr.Index) -> None:
    gone = replace(mixed_index, root=mixed_index.root / "gone")
    pipe = dali_cr.restoration_pipeline(gone, RECIPE, 4, "cpu")
    with pytest.raises(dali_cr.VolumeError, match="No such file"):
        pipe.run()
