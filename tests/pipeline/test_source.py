"""Test that both sources return the same samples for both recipes, also after other batches and errors."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from tests.helpers.recipes import (
    CORRUPTED,
    INDEXES,
    PAIRS,
    RECIPES,
    SPACED,
    VIEWS,
    VIEWS_OF,
    by_reference,
    content,
    finished,
    raw,
)

SOURCES = {"finished": finished, "raw": raw}
COMPARED: dict[str, Any] = {
    f"{normalize}, {dtype}, {crop}": replace(PAIRS, normalize=normalize, dtype=dtype, crop=crop)
    for normalize in ("zscore", "percentile", ("window", -10, 50), None)
    for dtype in ("float32", "float16")
    for crop in ((16, 20, 24), (45, 8, 41), (1, 33, 7))
} | {"spaced": SPACED, "inpaint": replace(PAIRS, pretext="inpaint"), **VIEWS_OF, **CORRUPTED}


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Any:
    return RECIPES[request.param]


@pytest.fixture(params=SOURCES)
def make(request: pytest.FixtureRequest) -> Any:
    return SOURCES[request.param]


@pytest.mark.parametrize("compared", COMPARED.values(), ids=COMPARED)
@pytest.mark.parametrize("name", INDEXES)
def test_raw_and_finished_samples_agree(name: str, compared: Any, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    ours, theirs = (kind(index, compared, 2, 5) for kind in (finished, raw))
    for k in range(5):
        assert content(ours, k) == content(theirs, k)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", INDEXES)
def test_a_volume_is_read_once_for_its_samples_in_a_batch(
    name: str, recipe: Any, make: Any, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    source, fresh = (
        make(index, replace(recipe, crops_per_volume=4), 2, size, lookahead=0, threads=1) for size in (8, 1)
    )
    reads: list[str] = []
    read = source.cache.read
    source.cache.read = lambda root, volume, upto: (reads.append(volume.data), read(root, volume, upto))[1]
    for k in range(3):
        together = by_reference(source, source.batch(k))
        for i in range(8):
            alone = by_reference(fresh, fresh.batch(8 * k + i))
            assert all(together[name][i].tobytes() == alone[name][0].tobytes() for name in alone)
    assert len(reads) == 3 * 2 * index.channels
    source.close()
    fresh.close()


def test_batches_do_not_depend_on_what_came_before(mixed_index: dali_cr.Index, recipe: Any, make: Any) -> None:
    """Check that reused memory shows no older batch, and that kept batches do not change."""
    steady = make(mixed_index, recipe, 2, 3, threads=3, lookahead=3)
    fresh = make(mixed_index, recipe, 2, 3, threads=1, lookahead=0)
    kept = []
    for k in range(12):
        if k % 3 == 0:
            kept.append((k, steady.batch(k)))
        assert k % 3 == 0 or content(steady, k) == content(fresh, k)
    for k, batch in kept:
        wanted = by_reference(fresh, fresh.batch(k))
        assert all(array.tobytes() == wanted[name].tobytes() for name, array in by_reference(steady, batch).items())
    steady.close()
    fresh.close()


def test_a_placeholder_is_like_a_batch_of_one(mixed_index: dali_cr.Index, recipe: Any, make: Any) -> None:
    source = make(mixed_index, recipe, 2, 1)
    placeholder, real = source.placeholder(), source.batch(0)
    assert set(placeholder) >= set(real) - {"raw"}
    for name in source.names:
        if name != "raw":
            assert (placeholder[name].shape, placeholder[name].dtype) == (real[name].shape, real[name].dtype)
    assert placeholder["sample"].tolist() == [-1]
    source.close()


@pytest.fixture
def breakable(mixed_index: dali_cr.Index, tmp_path: Path) -> dali_cr.Index:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    return replace(mixed_index, root=root)


@pytest.mark.parametrize("damage", ["remove", "truncate", "touch"])
def test_a_broken_file_is_named(breakable: dali_cr.Index, recipe: Any, make: Any, damage: str) -> None:
    path = breakable.root / breakable.cases[4].volumes[0].path
    damages = {
        "remove": path.unlink,
        "truncate": lambda: os.truncate(path, 90),
        "touch": lambda: os.utime(path, (1, 1)),
    }
    damages[damage]()
    source = make(breakable, recipe, 0, len(breakable))
    with pytest.raises(dali_cr.VolumeError, match=path.name):
        source.batch(0)
    source.close()


@pytest.mark.parametrize("threads", [1, 4])
def test_skipping_is_pure(breakable: dali_cr.Index, recipe: Any, make: Any, threads: int) -> None:
    for case in (1, 4, 7):
        (breakable.root / breakable.cases[case].volumes[0].path).unlink()
    source = make(breakable, recipe, 0, 4, threads=threads, on_error="skip")
    known = make(breakable, recipe, 0, 4, on_error="skip")
    known.broken.update(dict.fromkeys((1, 4, 7), "gone"))
    for k in range(8):
        assert content(source, k) == content(known, k)
    assert set(source.broken) == {1, 4, 7}
    for case in breakable.cases:
        (breakable.root / case.volumes[0].path).unlink(missing_ok=True)
    with pytest.raises(dali_cr.VolumeError, match="none of its"):
        for k in range(8, 20):
            source.batch(k)
    source.close()
    known.close()


def test_skipping_does_not_depend_on_the_lookahead(
    mixed_index: dali_cr.Index, recipe: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a case of which only some samples can be read: batches planned early must not deliver the others."""
    sources = [make(mixed_index, recipe, 0, 2, lookahead=ahead, on_error="skip") for ahead in (0, 9)]
    damaged = int(sources[0].planner.plan([3]).cases[0])
    first = min(n for n in range(60) if n > 3 and sources[0].planner.plan([n]).cases[0] == damaged)
    assert first < 20
    for source in sources:

        def fill(batch: Any, group: list[int], fill: Any = source.fill) -> None:
            if batch.plans.cases[group[0]] == damaged and 3 in batch.plans.numbers[group]:
                raise dali_cr.VolumeError(Path("some.nii"), "damaged at the end")
            fill(batch, group)

        monkeypatch.setattr(source, "fill", fill)
    for k in range(first // 2 + 1):
        assert content(sources[0], k) == content(sources[1], k)
    assert [set(source.broken) for source in sources] == [{damaged}] * 2
    for source in sources:
        source.close()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"lookahead": -1}, {"on_error": "ignore"}, {"timeout": 0}], ids=str)
def test_refuses(mixed_index: dali_cr.Index, make: Any, wrong: dict) -> None:
    with pytest.raises(
        ValueError, match="expected (an integer of at least 1|at least 0|.raise. or .skip.|a number of s)"
    ):
        make(mixed_index, PAIRS, 0, 4, **wrong)


def test_refuses_more_arrays_than_a_grid_is_long(channel_index: dali_cr.Index) -> None:
    """Test two channels, where 2 * 32768 is one too many; for views the larger number counts."""
    with pytest.raises(ValueError, match="batch_size: expected at most 32767 on a GPU with 2 channels and 1 views"):
        raw(channel_index, PAIRS, 0, 32768)
    raw(channel_index, PAIRS, 0, 32767).close()
    views = replace(VIEWS, locals=5)
    with pytest.raises(ValueError, match="expected at most 6553 on a GPU with 2 channels and 5 views"):
        raw(channel_index, views, 0, 6554)


def test_a_file_that_hangs_is_named(mixed_index: dali_cr.Index, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    source = make(mixed_index, PAIRS, 0, 2, timeout=0.2, on_error="skip")
    hangs = mixed_index.cases[source.planner.plan([0]).cases[0]].volumes[0]
    read = source.cache.read

    def slow(root: Path, volume: object, upto: int) -> np.ndarray:
        if volume is hangs:
            release.wait(30)
        return read(root, volume, upto)  # type: ignore[no-any-return]

    monkeypatch.setattr(source.cache, "read", slow)
    with pytest.raises(dali_cr.VolumeError, match=f"{hangs.path}: not read after 0.2 s"):
        source.batch(0)
    release.set()
    source.close()


@pytest.mark.parametrize("step", ["prepare", "fill"])
def test_any_error_of_a_thread_reaches_the_caller(
    mixed_index: dali_cr.Index, make: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    source = make(mixed_index, PAIRS, 0, 2)

    def fail(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(source, step, fail)
    with pytest.raises(MemoryError, match="none left"):
        source.batch(0)
    source.close()


def test_only_voxels_that_the_samples_need_are_sent(mixed_index: dali_cr.Index, recipe: Any) -> None:
    """Check that the box of the crop, or one box of all views, is sent."""
    source = raw(mixed_index, recipe, 2, 1)
    for k in range(len(mixed_index)):
        plans = source.planner.plan([k])
        size = (
            np.prod(plans.boxes[0, 1] - plans.boxes[0, 0])
            * mixed_index.cases[plans.cases[0]].volumes[0].geometry.itemsize
        )
        assert size <= source.batch(k)["raw"].shape[1] < size + 16
    source.close()


def test_a_closed_source_is_freed(mixed_index: dali_cr.Index, recipe: Any, make: Any) -> None:
    """Check that a closed source is freed without the garbage collector."""
    import gc
    import weakref

    source = make(mixed_index, recipe, 2, 2)
    source.batch(0)
    source.close()
    known = weakref.ref(source)
    gc.disable()
    try:
        del source
        assert known() is None
    finally:
        gc.enable()
