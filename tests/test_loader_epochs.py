"""Test epochs of a Loader for both recipes: `break`, streams, states and broken files."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import dali_cr
from tests.helpers import recipes
from tests.helpers.recipes import VIEWS

CASES, BATCH = 5, 2
STEPS, PER_EPOCH = 3, 6
"""Steps of an epoch of 5 cases in batches of 2."""

RECIPES = {"pairs": dali_cr.Restoration((8, 10, 12), dali_cr.Swap(4, (2, 4)), foreground=0.5), "views": VIEWS}

pytestmark = pytest.mark.usefixtures("each_device")


@pytest.fixture(scope="module")
def index(mixed_index: dali_cr.Index) -> dali_cr.Index:
    return replace(mixed_index, cases=mixed_index.cases[:CASES])


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Any:
    return RECIPES[request.param]


def loader(index: dali_cr.Index, recipe: Any, **options: Any) -> dali_cr.Loader:
    return recipes.loader(index, recipe, **{"batch_size": BATCH, **options})


def contents(batches: Iterator[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the number of each sample, and a hash of its tensors."""
    out = []
    for batch in batches:
        names = sorted(batch.keys() - {"sample", "case"})
        for i, number in enumerate(batch["sample"].tolist()):
            out.append((number, hash(tuple(batch[name][i].cpu().numpy().tobytes() for name in names))))
    return out


@pytest.fixture(scope="module")
def known(index: dali_cr.Index, recipe: Any) -> list[tuple[int, int]]:
    """Return the first samples, created one by one."""
    with loader(index, recipe, batch_size=1, threads=1) as stream:
        return contents(islice(stream.stream(), 60))


def test_every_for_is_the_next_epoch(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]) -> None:
    with loader(index, recipe) as stream:
        assert len(stream) == STEPS
        for epoch in range(3):
            assert contents(iter(stream)) == known[epoch * PER_EPOCH : (epoch + 1) * PER_EPOCH]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_operations(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]], seed: int) -> None:
    chance, at, resumed = random.Random(seed), 0, True
    stream = loader(index, recipe)
    for _ in range(12):
        action = chance.choice(["epoch", "break", "stream", "load", "load here", "close"])
        if action == "close":
            stream.close()
        elif action.startswith("load"):
            state = stream.state_dict()
            if action == "load":
                stream.close()
                stream = loader(index, recipe, threads=chance.randint(1, 3), prefetch=chance.randint(1, 3))
            stream.load_state_dict(state)
            resumed = True
        elif at + 2 * STEPS < len(known) // BATCH:
            first = at if action == "stream" or resumed or at % STEPS == 0 else (at // STEPS + 1) * STEPS
            last = first + chance.randint(1, 4) if action == "stream" else (first // STEPS + 1) * STEPS
            if action == "break":
                last = chance.randint(first + 1, last)
            batches = stream.stream() if action == "stream" else iter(stream)
            got = contents(batches if action == "epoch" else islice(batches, last - first))
            assert got == known[first * BATCH : last * BATCH]
            at, resumed = last, False
    stream.close()


def test_a_state_at_every_step(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]) -> None:
    with loader(index, recipe) as first, loader(index, recipe) as second:
        batches = first.stream()
        for step in range(2 * STEPS + 1):
            second.load_state_dict(first.state_dict())
            ends = (step // STEPS + 1) * PER_EPOCH
            assert contents(iter(second)) == known[step * BATCH : ends]
            assert contents(islice(second, 1)) == known[ends : ends + BATCH]
            next(batches)


def test_a_state_of_format_1(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]) -> None:
    with loader(index, recipe) as stream:
        state = {**stream.state_dict(), "format": 1, "next": PER_EPOCH + BATCH}
        del state["epoch_start"]
        stream.load_state_dict(state)
        assert contents(iter(stream)) == known[PER_EPOCH + BATCH : 2 * PER_EPOCH]
        for later in (0, 4, None, "1"):
            with pytest.raises(ValueError, match=f"expected format 1 to 3, got {later!r}"):
                stream.load_state_dict({**state, "format": later})


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_the_same_number_of_steps(
    index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]], world_size: int
) -> None:
    got: list[tuple[int, int]] = []
    for rank in range(world_size):
        with loader(index, recipe, batch_size=1, rank=rank, world_size=world_size) as stream:
            own = [contents(iter(stream)) for _ in range(2)]
            assert [len(epoch) for epoch in own] == [len(stream)] * 2 == [-(-CASES // world_size)] * 2
            got += own[0] + own[1]
    assert sorted(got) == sorted(known[: len(got)])


def test_exact_passes_begin_at_0_every_time(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]) -> None:
    with loader(index, recipe, epochs=1) as stream:
        assert len(stream) == STEPS
        assert contents(islice(stream, 2)) == known[: 2 * BATCH]
        state = stream.state_dict()
        assert contents(iter(stream)) == known[:CASES]
        assert contents(iter(stream)) == known[:CASES]
        stream.load_state_dict(state)
        assert contents(iter(stream)) == known[2 * BATCH : CASES]
        with pytest.raises(ValueError, match="expected a Loader without epochs="):
            stream.stream()


def test_one_iterator_at_a_time(index: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]) -> None:
    with loader(index, recipe) as stream:
        old = iter(stream)
        new = iter(stream)  # nothing starts before the first batch is requested
        assert contents(islice(old, 1)) == known[:BATCH]
        assert contents(islice(new, 1)) == known[PER_EPOCH : PER_EPOCH + BATCH]
        with pytest.raises(RuntimeError, match="this iterator has ended, because a newer one"):
            next(old)
        ended = contents(new)
        assert ended == known[PER_EPOCH + BATCH : 2 * PER_EPOCH]
        latest = stream.stream()
        next(latest)
        stream.load_state_dict(stream.state_dict())
        with pytest.raises(RuntimeError, match="or a state was loaded"):
            next(latest)
        assert next(new, None) is None


@pytest.fixture
def breakable(index: dali_cr.Index, tmp_path: Path) -> dali_cr.Index:
    root = tmp_path / "data"
    shutil.copytree(index.root, root, copy_function=shutil.copy2)
    return replace(index, root=root)


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_broken_file_interrupts_the_epoch(
    breakable: dali_cr.Index, recipe: Any, known: list[tuple[int, int]], step: int
) -> None:
    with loader(breakable, recipe) as stream:
        path = breakable.root / stream.plan(step * BATCH).path
        content, status = path.read_bytes(), path.stat()
        stream.close()
        path.unlink()
        got: list[tuple[int, int]] = []
        with pytest.raises(dali_cr.VolumeError, match=path.name):
            for batch in stream:
                got += contents(iter([batch]))
        assert got == known[: step * BATCH]
        state = stream.state_dict()
        with pytest.raises(dali_cr.VolumeError, match=path.name):
            list(stream)
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert contents(iter(stream)) == known[step * BATCH : PER_EPOCH]
        stream.load_state_dict(state)
        assert contents(iter(stream)) == known[step * BATCH : PER_EPOCH]


def test_a_broken_file_that_was_read_ahead_and_skipped_by_break_does_no_harm(
    breakable: dali_cr.Index, recipe: Any, known: list[tuple[int, int]]
) -> None:
    """Its error belongs to a skipped batch; later batches are delivered."""
    with loader(breakable, recipe, prefetch=3) as stream:
        path = breakable.root / stream.plan(2 * BATCH).path
        content, status = path.read_bytes(), path.stat()
        stream.close()
        path.unlink()
        assert contents(islice(stream, 1)) == known[:BATCH]
        until = time.monotonic() + 20
        while not stream._running._server.errors and time.monotonic() < until:  # batch 2 is read ahead
            time.sleep(0.01)
        assert stream._running._server.errors
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert contents(iter(stream)) == known[PER_EPOCH : 2 * PER_EPOCH]


def test_skipped_cases_keep_the_epochs_length(breakable: dali_cr.Index, recipe: Any) -> None:
    gone = breakable.cases[2]
    (breakable.root / gone.volumes[0].path).unlink()
    with loader(breakable, recipe, on_error="skip") as stream, loader(breakable, recipe, on_error="skip") as other:
        whole = [contents(iter(stream)) for _ in range(2)]
        assert [len(epoch) for epoch in whole] == [PER_EPOCH, PER_EPOCH]
        assert list(stream.skipped) == [gone.name]
        assert contents(islice(other, 1)) == whole[0][:BATCH]
        other.load_state_dict(other.state_dict())
        assert contents(iter(other)) == whole[0][BATCH:]
        assert contents(iter(other)) == whole[1]


def test_a_break_keeps_the_pipeline_and_its_caches(index: dali_cr.Index, recipe: Any) -> None:
    with loader(index, recipe, cache="host:1GB") as stream:
        list(stream)
        running, misses = stream._running, stream.cache_report()["host"]["misses"]
        for _ in range(3):
            next(iter(stream))
        assert stream._running is running
        assert stream.cache_report()["host"]["misses"] == misses
