"""Both sources give the same samples, which are what plan, nibabel and NumPy say they are."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.pipeline.cpu import PairSource
from dali_cr.pipeline.multiview import ViewRawSource
from dali_cr.pipeline.raw import RawSource
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.sample import SamplePlan
from dali_cr.plan.stream import Stream
from dali_cr.plan.views import ViewPlanner

RECIPE = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), flips=("D", "H", "W"), foreground=0.5)


def by_hand(index: dali_cr.Index, recipe: dali_cr.Restoration, plan: SamplePlan) -> np.ndarray:
    """Return a target made of whole z-scored volumes, padded, cropped and flipped in NumPy."""
    channels = []
    for volume in index.cases[plan.case].volumes:
        values = dali_cr.read_volume(index.root / volume.path)[volume.frame].astype(np.float64)
        scaled = np.clip((values - volume.statistics.mean) / volume.statistics.deviation, -5, 5)
        padded = np.pad(np.where(np.isfinite(values), scaled, 0), 24)
        window = tuple(slice(o + 24, o + 24 + c) for o, c in zip(plan.origin, recipe.crop, strict=True))
        channels.append(padded[window][tuple(slice(None, None, -1 if f else 1) for f in plan.flips)])
    return np.stack(channels)


@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
def test_samples_are_what_they_should_be(name: str, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    source = PairSource(CropPlanner(index, RECIPE, 5), Stream(4))
    for k in range(8):
        input, target, numbers = source.batch(k)
        for i, number in enumerate(numbers):
            plan = source.planner.draw([number])[0]
            np.testing.assert_allclose(target[i], by_hand(index, RECIPE, plan), atol=2e-6)
            np.testing.assert_array_equal(input[i], dali_cr.swap_patches(target[i], plan.swaps))
    source.close()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("normalize", ["zscore", "percentile", ("window", -10, 50), None], ids=str)
@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
@pytest.mark.parametrize("crop", [(16, 20, 24), (45, 8, 41), (1, 33, 7)], ids=str)
def test_raw_and_finished_samples_agree(
    name: str, normalize: object, dtype: str, crop: tuple[int, int, int], request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    recipe = replace(RECIPE, normalize=normalize, dtype=dtype, crop=crop)
    finished, raw = (kind(CropPlanner(index, recipe, 2), Stream(5)) for kind in (PairSource, RawSource))
    for k in range(5):
        input, target, numbers = finished.batch(k)
        data, records, swaps, again = raw.batch(k)
        decoded = decode_volume_ref(data, records, crop, dtype)
        assert decoded.tobytes() == target.tobytes()
        assert decoded.dtype == target.dtype
        assert dali_cr.swap_patches(decoded, swaps).tobytes() == input.tobytes()
        np.testing.assert_array_equal(numbers, again)
    finished.close()
    raw.close()


@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
def test_a_volume_is_read_once_for_its_crops_in_a_batch(name: str, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    recipe = replace(RECIPE, crops_per_volume=4)
    finished, raw = (kind(CropPlanner(index, recipe, 2), Stream(8), lookahead=0) for kind in (PairSource, RawSource))
    reads: list[str] = []
    read = finished.cache.read
    finished.cache.read = lambda root, volume, upto: (reads.append(volume.data), read(root, volume, upto))[1]  # type: ignore[method-assign]
    for k in range(3):
        input, target, numbers = finished.batch(k)
        data, records, swaps, _ = raw.batch(k)
        decoded_ = decode_volume_ref(data, records, recipe.crop)
        assert decoded_.tobytes() == target.tobytes()
        assert dali_cr.swap_patches(decoded_, swaps).tobytes() == input.tobytes()
        for i, number in enumerate(numbers):
            plan = finished.planner.draw([number])[0]
            np.testing.assert_allclose(target[i], by_hand(index, recipe, plan), atol=2e-6)
    assert len(reads) == 3 * 2 * index.channels
    finished.close()
    raw.close()


def test_batches_do_not_depend_on_what_came_before(mixed_index: dali_cr.Index) -> None:
    """Memory is used again; nothing of an older batch may show."""
    steady = PairSource(CropPlanner(mixed_index, RECIPE, 2), Stream(3), threads=3, lookahead=3)
    for k in range(12):
        got = [array.copy() for array in steady.batch(k)]
        fresh = PairSource(CropPlanner(mixed_index, RECIPE, 2), Stream(3), threads=1, lookahead=0)
        for one, other in zip(got, fresh.batch(k), strict=True):
            assert one.tobytes() == other.tobytes()
        fresh.close()
    steady.close()


def decoded(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return a batch in which raw rows, whose padding means nothing, are decoded."""
    return batch if len(batch) == 3 else (decode_volume_ref(*batch[:2], RECIPE.crop), *batch[2:])


@pytest.fixture
def breakable(mixed_index: dali_cr.Index, tmp_path: Path) -> dali_cr.Index:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    return replace(mixed_index, root=root)


@pytest.mark.parametrize("damage", ["remove", "truncate", "touch"])
@pytest.mark.parametrize("kind", [PairSource, RawSource])
def test_a_broken_file_is_named(breakable: dali_cr.Index, kind: type[PairSource], damage: str) -> None:
    path = breakable.root / breakable.cases[4].volumes[0].path
    {"remove": path.unlink, "truncate": lambda: os.truncate(path, 90), "touch": lambda: os.utime(path, (1, 1))}[
        damage
    ]()
    source = kind(CropPlanner(breakable, RECIPE, 0), Stream(len(breakable)))
    with pytest.raises(dali_cr.VolumeError, match=path.name):
        source.batch(0)
    source.close()


@pytest.mark.parametrize("kind", [PairSource, RawSource])
@pytest.mark.parametrize("threads", [1, 4])
def test_skipping_is_pure(breakable: dali_cr.Index, kind: type[PairSource], threads: int) -> None:
    for case in (1, 4, 7):
        (breakable.root / breakable.cases[case].volumes[0].path).unlink()
    source = kind(CropPlanner(breakable, RECIPE, 0), Stream(4), threads=threads, on_error="skip")
    known = kind(CropPlanner(breakable, RECIPE, 0), Stream(4), on_error="skip")
    known.broken.update(dict.fromkeys((1, 4, 7), "gone"))
    for k in range(8):
        for one, other in zip(decoded(source.batch(k)), decoded(known.batch(k)), strict=True):
            assert one.tobytes() == other.tobytes()
    assert set(source.broken) == {1, 4, 7}
    for case in breakable.cases:
        (breakable.root / case.volumes[0].path).unlink(missing_ok=True)
    with pytest.raises(dali_cr.VolumeError, match="none of its"):
        for k in range(8, 20):
            source.batch(k)
    source.close()
    known.close()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"lookahead": -1}, {"on_error": "ignore"}], ids=str)
def test_refuses(mixed_index: dali_cr.Index, wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected (an integer of at least 1|at least 0|.raise. or .skip.)"):
        PairSource(CropPlanner(mixed_index, RECIPE, 0), Stream(4), **wrong)


def test_refuses_more_arrays_than_a_grid_is_long(channel_index: dali_cr.Index) -> None:
    """Two channels: 2 * 32768 is one too many; of views, the more numerous ones count."""
    with pytest.raises(ValueError, match="batch_size: wanted at most 32767 on a GPU, of 2 channels and up to 1 views"):
        RawSource(CropPlanner(channel_index, RECIPE, 0), Stream(32768))
    RawSource(CropPlanner(channel_index, RECIPE, 0), Stream(32767)).close()
    views = dali_cr.Views(normalize="percentile", locals=5)
    with pytest.raises(ValueError, match="wanted at most 6553 on a GPU, of 2 channels and up to 5 views"):
        ViewRawSource(ViewPlanner(channel_index, views, 0), Stream(6554))


def test_a_file_that_hangs_is_named(mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    source = PairSource(CropPlanner(mixed_index, RECIPE, 0), Stream(2), timeout=0.2, on_error="skip")
    hangs = mixed_index.cases[source.planner.draw([0])[0].case].volumes[0]
    read = source.cache.read

    def slow(root: Path, volume: object, upto: int) -> np.ndarray:
        if volume is hangs:
            release.wait(30)
        return read(root, volume, upto)  # type: ignore[arg-type]

    monkeypatch.setattr(source.cache, "read", slow)
    with pytest.raises(dali_cr.VolumeError, match=f"{hangs.path}: not read after 0.2 s"):
        source.batch(0)
    release.set()
    source.close()


def test_whatever_a_thread_raises_reaches_the_caller(
    mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PairSource(CropPlanner(mixed_index, RECIPE, 0), Stream(2))

    def fail(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(source, "fill", fail)
    with pytest.raises(MemoryError, match="none left"):
        source.batch(0)
    source.close()
