"""Test the GPU cache with emulated kernels: the same bytes as without, for any budget."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.graph import build_pipeline
from dali_cr.read.gpu_cache import Arena, Upload, frame_bytes
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import INDEXES, PAIRS, PAIRS_OF, RECIPES, SPACED, outputs_of, outputs_of_whole, raw, total

CACHED: dict[str, Any] = {**RECIPES, "spaced": SPACED, "half": PAIRS_OF["inpaint, float16"]}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("recipe", CACHED.values(), ids=CACHED)
@pytest.mark.parametrize("name", INDEXES)
def test_the_same_bytes(
    name: str, recipe: Any, share: float, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    steps = -(-3 * len(index) // 3)
    plain = outputs_of(dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7), steps)
    for whole in (False, True):
        arena = Arena(total(index) * share, index)
        source = raw(index, recipe, 7, 3, arena=arena, whole=whole)
        got = outputs_of_whole(source, steps) if whole else outputs_of(build_pipeline(source, "cpu"), steps)
        assert got == plain
        report = arena.report()
        assert report["bytes"] <= total(index) * share
        assert (report["hits"] > 0) == (share > 0)
        source.close()


@pytest.mark.parametrize("whole", [False, True])
def test_no_file_is_read_once_all_volumes_are_cached(
    mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    arena = Arena(total(mixed_index), mixed_index)
    source = raw(mixed_index, PAIRS, 7, 4, arena=arena, whole=whole)
    make, steps = source.make, 0

    def counted(*inputs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 12:
            monkeypatch.setattr(source.cache, "read", lambda *_: pytest.fail("a file was read"))
        return make(*inputs)

    monkeypatch.setattr(source, "make", counted)
    assert len(outputs_of_whole(source, 18) if whole else outputs_of(build_pipeline(source, "cpu"), 18)) == 18
    assert arena.report()["bytes"] == total(mixed_index)
    source.close()


@pytest.mark.parametrize("whole", [False, True])
def test_slots_of_a_failed_batch_are_returned(
    mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda, tmp_path: Path, whole: bool
) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    index = replace(mixed_index, root=root)
    (root / index.cases[2].volumes[0].path).unlink()
    arena = Arena(total(index), index)
    source = raw(index, PAIRS, 7, 4, arena=arena, on_error="skip", whole=whole)
    assert len(outputs_of_whole(source, 15) if whole else outputs_of(build_pipeline(source, "cpu"), 15)) == 15
    good = np.delete(np.arange(len(index)), 2)
    starts = arena.locate(good)[:, 0]
    assert (starts >= 0).all()
    ends = sorted(
        (start, frame_bytes(index.cases[i].volumes[0].geometry)) for start, i in zip(starts, good, strict=True)
    )
    assert all(a + size <= b for (a, size), (b, _) in zip(ends, ends[1:], strict=False))
    assert arena.locate(np.array([2])).tolist() == [[-1]]
    source.close()


def test_no_more_is_allocated_than_is_needed(mixed_index: dali_cr.Index, cuda_on_cpu: HostCuda) -> None:
    arena = Arena(40e9, mixed_index)
    arena.allocate()
    assert arena.memory.size == total(mixed_index)


@pytest.fixture
def twins(channel_index: dali_cr.Index) -> dali_cr.Index:
    """Two cases whose first channels have equal content."""
    one, two = channel_index.cases[:2]
    two = replace(two, volumes=(one.volumes[0], two.volumes[1]))
    return replace(channel_index, cases=(one, two))


@pytest.fixture
def arena(twins: dali_cr.Index, cuda_on_cpu: HostCuda) -> Arena:
    arena = Arena(1e9, twins)
    arena.allocate()
    return arena


def brought(arena: Arena, index: dali_cr.Index, case: int, channel: int, row: int = 0) -> Upload:
    """Return the upload of a volume, after its slot was reserved."""
    slot = arena.reserve(case, channel)
    assert slot is not None
    geometry = index.cases[case].volumes[channel].geometry
    return Upload(slot[0], row, 0, slot[1], geometry.voxels * geometry.itemsize)


def test_the_same_content_is_kept_once(arena: Arena, twins: dali_cr.Index) -> None:
    sizes = [frame_bytes(twins.cases[i].volumes[c].geometry) for i, c in ((0, 0), (0, 1), (1, 1))]
    assert arena.memory.size == sum(sizes)
    upload = brought(arena, twins, 0, 0)
    assert arena.reserve(1, 0) is None  # this batch uploads it
    assert arena.locate(np.array([0, 1])).tolist() == [[-1, -1], [-1, -1]]
    content = np.random.default_rng(0).integers(0, 256, (1, sizes[0]), np.uint8)
    arena.upload(content, [upload])
    assert arena.locate(np.array([1, 0, 1])).tolist() == [[0, -1], [0, -1], [0, -1]]
    assert arena.memory[: upload.size].tobytes() == content[0, : upload.size].tobytes()
    assert arena.reserve(1, 0) is None
    assert arena.report() == {"bytes": sizes[0], "budget": 1e9, "hits": 3, "misses": 4 + 3}


def test_a_returned_slot_is_reused_for_its_size(arena: Arena, twins: dali_cr.Index) -> None:
    first, second = brought(arena, twins, 0, 0), brought(arena, twins, 0, 1)
    arena.release([first])
    assert arena.locate(np.array([0])).tolist() == [[-1, -1]]
    other = brought(arena, twins, 1, 1)
    assert other.offset == sum(frame_bytes(twins.cases[0].volumes[c].geometry) for c in (0, 1))
    again = brought(arena, twins, 1, 0)
    assert (again.volume, again.offset) == (first.volume, first.offset)
    arena.upload(np.ones((1, 10**6), np.uint8), [second, other, again])
    assert (arena.locate(np.array([0, 1])) >= 0).all()
    assert arena.report()["bytes"] == arena.memory.size


def test_without_space_no_slot_is_reserved(twins: dali_cr.Index) -> None:
    size = frame_bytes(twins.cases[0].volumes[0].geometry)
    arena = Arena(size, twins)
    assert arena.reserve(0, 0) is not None
    assert arena.reserve(0, 1) is None
    assert arena.reserve(1, 1) is None
    assert arena.report()["bytes"] == size
