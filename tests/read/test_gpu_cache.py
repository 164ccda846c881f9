"""Volumes kept on the GPU, the kernels emulated: the same bytes as without, whatever the budget."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.graph import build_pipeline
from dali_cr.pipeline.raw import RawSource
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.stream import Stream
from dali_cr.read.gpu_cache import Arena, frame_bytes
from tests.cuda_on_cpu.host import HostCuda

RECIPE = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), flips=("D", "H", "W"), foreground=0.5)


def total(index: dali_cr.Index) -> int:
    return sum(frame_bytes(v.geometry) for case in index.cases for v in case.volumes)


def run(pipe: object, steps: int) -> list[list[bytes]]:
    return [[np.array(out.as_array()).tobytes() for out in pipe.run()] for _ in range(steps)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
def test_the_same_bytes(name: str, share: float, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    steps = -(-4 * len(index) // 3)
    plain = run(dali_cr.restoration_pipeline(index, RECIPE, 3, "cpu", 7), steps)
    arena = Arena(total(index) * share, index)
    source = RawSource(CropPlanner(index, RECIPE, 7), Stream(3), arena=arena)
    assert run(build_pipeline(source, "cpu"), steps) == plain
    report = arena.report()
    assert report["bytes"] <= total(index) * share
    assert (report["hits"] > 0) == (share > 0)
    source.close()


def test_once_all_are_there_nothing_is_read(
    mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = Arena(total(mixed_index), mixed_index)
    source = RawSource(CropPlanner(mixed_index, RECIPE, 7), Stream(4), arena=arena)
    pipe = build_pipeline(source, "cpu")
    run(pipe, 12)
    monkeypatch.setattr(source.cache, "read", lambda *_: pytest.fail("a file was read"))
    run(pipe, 6)
    assert arena.report()["bytes"] == total(mixed_index)
    source.close()


def test_places_of_a_batch_that_broke_are_given_back(
    mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    index = replace(mixed_index, root=root)
    (root / index.cases[2].volumes[0].path).unlink()
    arena = Arena(total(index), index)
    source = RawSource(CropPlanner(index, RECIPE, 7), Stream(4), arena=arena, on_error="skip")
    run(build_pipeline(source, "cpu"), 15)
    good = [v for i, case in enumerate(index.cases) for v in case.volumes if i != 2]
    assert all(arena.locate(volume) is not None for volume in good)
    ends = sorted((arena.locate(v), frame_bytes(v.geometry)) for v in good)  # type: ignore[type-var]
    assert all(a + size <= b for (a, size), (b, _) in zip(ends, ends[1:], strict=False))  # type: ignore[operator]
    source.close()


def test_no_more_is_allocated_than_is_needed(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda) -> None:
    arena = Arena(40e9, mixed_index)
    arena.allocate()
    assert arena.memory.size == total(mixed_index)
