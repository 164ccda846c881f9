"""Processes that finish samples: the same bytes as threads, errors that arrive, and nothing left behind."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr import VolumeError
from dali_cr.pipeline.memory import Shared
from dali_cr.pipeline.processes import Children, Setup

PAIRS = dali_cr.Restoration(crop=(12, 14, 16), swap=dali_cr.Swap(10, (2, 5)), foreground=0.5)
VIEWS = dali_cr.Views(
    shape=(8, 10, 12),
    sizes=((8, 10, 12), (8, 12, 10)),
    local_shape=(4, 4, 4),
    local_sizes=((5, 5, 5), (4, 4, 4)),
    locals=2,
    swap=dali_cr.Swap(5, (2, 2, 2)),
)
RECIPES = {"pairs": PAIRS, "half": dali_cr.Restoration((12, 14, 16), PAIRS.swap, dtype="float16"), "views": VIEWS}


def loader(index: dali_cr.Index, recipe: dali_cr.Restoration | dali_cr.Views, **options: object) -> dali_cr.Loader:
    options = {"batch_size": 5, "device": "cpu", "seed": 3, "threads": 2, "processes": True, **options}
    return dali_cr.Loader(index, recipe, **options)  # type: ignore[arg-type]


def batches(stream: dali_cr.Loader, count: int) -> list[dict[str, bytes]]:
    """Return the bytes of the next batches."""
    pairs = zip(range(count), stream.stream(), strict=False)
    return [{name: tensor.numpy().tobytes() for name, tensor in batch.items() if name != "case"} for _, batch in pairs]


def children_of(process: int) -> set[int]:
    """Return the processes that this one has started and that have not ended."""
    return {
        int(one) for task in Path(f"/proc/{process}/task").iterdir() for one in (task / "children").read_text().split()
    }


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Refuse a test that leaves a process or an open file in memory behind."""
    gc.collect()
    before = children_of(os.getpid())
    yield
    gc.collect()
    assert children_of(os.getpid()) <= before
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if "memfd:dali_cr" in link]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_same_bytes_as_threads(mixed_index: dali_cr.Index, recipe: dali_cr.Restoration | dali_cr.Views) -> None:
    with loader(mixed_index, recipe, processes=False) as threads, loader(mixed_index, recipe) as processes:
        wanted = batches(threads, 6)
        assert batches(processes, 6) == wanted


def test_goes_on_after_a_close_and_from_a_state(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, PAIRS, processes=False) as threads:
        wanted = batches(threads, 6)
    with loader(mixed_index, PAIRS) as first:
        got = batches(first, 2)
        first.close()
        got += batches(first, 2)
        state = first.state_dict()
    with loader(mixed_index, PAIRS) as second:
        second.load_state_dict(state)
        assert got + batches(second, 2) == wanted


def test_cache_is_shared_and_counted(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, PAIRS, processes=False) as threads:
        wanted = batches(threads, 8)
    with loader(mixed_index, PAIRS, cache="host:1GB") as processes:
        assert batches(processes, 8) == wanted
        report = processes.cache_report()["host"]
    assert report["bytes"] > 0
    assert report["misses"] >= 1
    assert report["hits"] >= 20


def broken_copy(index: dali_cr.Index, folder: Path) -> tuple[dali_cr.Index, str]:
    """Return an index of copied files, of which one was cut short after the scan."""
    shutil.copytree(index.root, folder)
    copy = dali_cr.scan(folder, "**/*.nii*", progress=False)
    path = folder / copy.cases[0].volumes[0].data
    path.write_bytes(path.read_bytes()[:400])
    return copy, copy.cases[0].name


def test_a_broken_file_is_named_or_skipped(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    index, name = broken_copy(mixed_index, tmp_path / "copy")
    recipe = dali_cr.Restoration(crop=(4, 4, 4), swap=dali_cr.Swap(2, 2))
    with loader(index, recipe) as raising, pytest.raises(VolumeError, match="changed since the scan"):
        batches(raising, 2 * len(index))
    with (
        loader(index, recipe, on_error="skip", processes=False) as threads,
        loader(index, recipe, on_error="skip") as skipping,
    ):
        assert batches(skipping, 12) == batches(threads, 12)
        assert list(skipping.skipped) == [name]


def test_a_killed_process_is_said_to_be(mixed_index: dali_cr.Index) -> None:
    before = children_of(os.getpid())
    with loader(mixed_index, PAIRS) as stream:
        batches(stream, 1)
        for child in children_of(os.getpid()) - before:
            os.kill(child, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="ended with -9"):
            batches(stream, 20)


def test_ends_with_its_parent(mixed_index: dali_cr.Index) -> None:
    """Dropped without a close: the children go when the loader does."""
    before = children_of(os.getpid())
    stream = loader(mixed_index, PAIRS)
    batches(stream, 1)
    own = children_of(os.getpid()) - before
    assert len(own) == 2
    del stream
    gc.collect()
    assert not own & children_of(os.getpid())


def test_a_child_that_hangs_is_killed(mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    from dali_cr.pipeline import processes as child
    from dali_cr.read.cache import Cache

    monkeypatch.setattr(child, "_PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(child, "_PATIENCE", 0.2)
    before = children_of(os.getpid())
    children = Children(1, Setup(list, mixed_index, ()), Cache(()))
    assert len(children_of(os.getpid()) - before) == 1
    children.close()
    assert children_of(os.getpid()) == before


def test_refuses_a_gpu(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match="processes: wanted False on 'cuda'"):
        loader(mixed_index, PAIRS, device="cuda")


def test_shared_memory_is_replaced_whole() -> None:
    memory = Shared()
    memory.allocate(0, 100)
    first = memory.places[0]
    memory[0][:] = 7
    assert (first.open() == 7).all()
    memory.allocate(0, 200)
    second = memory.places[0]
    assert second.serial != first.serial
    second.open()[150] = 9
    assert memory[0][150] == 9
    memory.close()
    np.testing.assert_array_equal(memory[0][140:160] == 9, np.arange(140, 160) == 150)
