"""A loader of views: the same samples whatever batch size, threads, ranks, caches, stops and broken files."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dali_cr
from dali_cr.plan.sample import AffineView
from tests.pipeline.test_multiview import RECIPE, RECIPES

COUNT = 24


def loader(index: dali_cr.Index, **options: Any) -> dali_cr.Loader:
    options = {"batch_size": 4, "device": "cpu", "seed": 5, **options}
    return dali_cr.Loader(index, options.pop("recipe", RECIPE), **options)


def samples(stream: dali_cr.Loader, steps: int | None = None) -> dict[int, bytes]:
    """Return what each sample number delivered."""
    out: dict[int, bytes] = {}
    for step, batch in enumerate(stream.stream() if steps else stream):
        for i, number in enumerate(batch["sample"].tolist()):
            assert number not in out
            out[number] = b"".join(batch[name][i].numpy().tobytes() for name in ("view", "target", "local"))
        if step + 1 == steps:
            break
    return out


@pytest.fixture(scope="module")
def known(mixed_index: dali_cr.Index) -> dict[int, bytes]:
    with loader(mixed_index, batch_size=1, threads=1) as stream:
        return samples(stream, COUNT)


def test_what_a_batch_is(mixed_index: dali_cr.Index, channel_index: dali_cr.Index) -> None:
    for index in (mixed_index, channel_index):
        with loader(index) as stream:
            batch = next(iter(stream))
            assert {name: tuple(tensor.shape) for name, tensor in batch.items() if name != "case"} == {
                "view": (4, 2, index.channels, 6, 10, 12),
                "target": (4, 2, index.channels, 6, 10, 12),
                "local": (4, 3, index.channels, 4, 5, 4),
                "sample": (4,),
            }
            assert {batch[name].dtype for name in ("view", "target", "local")} == {torch.float32}
            plan = stream.plan(2)
            assert len(plan.views) == 5
            assert all(isinstance(view, AffineView) for view in plan.views)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 4])
def test_whatever_batch_size_and_threads(
    mixed_index: dali_cr.Index, known: dict[int, bytes], batch_size: int, threads: int
) -> None:
    with loader(mixed_index, batch_size=batch_size, threads=threads) as stream:
        got = samples(stream, -(-COUNT // batch_size))
    assert {n: got[n] for n in known} == known


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_whatever_world_size_and_each_number_once(
    mixed_index: dali_cr.Index, known: dict[int, bytes], world_size: int
) -> None:
    got: list[tuple[int, bytes]] = []
    for rank in range(world_size):
        with loader(mixed_index, epochs=6, rank=rank, world_size=world_size) as stream:
            got += samples(stream).items()
    assert sorted(n for n, _ in got) == list(range(6 * len(mixed_index)))
    assert all(known[n] == content for n, content in got if n in known)


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resumes_anywhere_with_another_batch_size(
    mixed_index: dali_cr.Index, known: dict[int, bytes], stop: int
) -> None:
    with loader(mixed_index, batch_size=3) as first:
        before = samples(first, stop) if stop else {}
        state = first.state_dict()
    with loader(mixed_index, batch_size=4) as second:
        samples(second, 2)
        second.load_state_dict(state)
        after = samples(second, 2)
    together = before | after
    assert sorted(together) == list(range(3 * stop + 8))
    assert all(known[n] == together[n] for n in together)


def test_a_state_of_other_views_is_refused(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index) as stream:
        state = stream.state_dict()
    crops = dali_cr.Restoration((6, 10, 12), RECIPE.swap, normalize=RECIPE.normalize)
    for other in (replace(RECIPE, noise=0.2), crops):
        with loader(mixed_index, recipe=other) as stream, pytest.raises(ValueError, match="but recipe differ"):
            stream.load_state_dict(state)


@pytest.mark.parametrize("cache", ["host:1MB", "host:1GB", "disk"])
def test_the_same_with_a_cache(mixed_index: dali_cr.Index, known: dict[int, bytes], cache: str, tmp_path: Path) -> None:
    level = f"disk:{tmp_path}" if cache == "disk" else cache
    with loader(mixed_index, cache=level) as stream:
        assert samples(stream, COUNT // 4) == known
        report = stream.cache_report()
    assert sum(numbers["hits"] for numbers in report.values()) > 0


def test_views_of_one_volume_follow_one_another(mixed_index: dali_cr.Index, known: dict[int, bytes]) -> None:
    recipe = replace(RECIPE, crops_per_volume=3)
    with loader(mixed_index, recipe=recipe, batch_size=6) as stream:
        cases = [stream.plan(n).case for n in range(12)]
        together = samples(stream, 2)
    assert cases[::3] == cases[1::3] == cases[2::3]
    with loader(mixed_index, recipe=recipe, batch_size=1, threads=1) as stream:
        assert samples(stream, 12) == together


@pytest.fixture
def breakable(mixed_index: dali_cr.Index, tmp_path: Path) -> dali_cr.Index:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    return replace(mixed_index, root=root)


def test_a_broken_file_raises_after_the_batches_before_it(breakable: dali_cr.Index, known: dict[int, bytes]) -> None:
    with loader(breakable, batch_size=1) as stream:
        path = breakable.root / stream.plan(6).path
        first = min(n for n in range(7) if breakable.root / stream.plan(n).path == path)
        stream.close()
        path.unlink()
        got: dict[int, bytes] = {}
        with pytest.raises(dali_cr.VolumeError, match=path.name):
            for batch in stream.stream():
                got[int(batch["sample"])] = batch["view"].numpy().tobytes()
        assert sorted(got) == list(range(first))
        assert all(known[n].startswith(content) for n, content in got.items())


def test_skip_counts_and_is_kept_in_the_state(breakable: dali_cr.Index) -> None:
    gone = breakable.cases[3]
    (breakable.root / gone.volumes[0].path).unlink()
    with loader(breakable, on_error="skip") as stream:
        whole = samples(stream, 5)
        assert list(stream.skipped) == [gone.name]
        state = stream.state_dict()
    with loader(breakable, on_error="skip") as again:
        again.load_state_dict({**state, "next": 0})
        assert samples(again, 5) == whole


def test_images_and_slices_lose_the_axis_they_have_not(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (30, 24), np.uint8)).save(tmp_path / f"{number}.png")
    recipe = replace(RECIPES["flat"], normalize="percentile")
    for index in (dali_cr.scan(tmp_path, "*.png", progress=False), mixed_index):
        with loader(index, recipe=recipe) as thick, loader(index, recipe=recipe, dims=2) as flat:
            one, other = next(iter(thick)), next(iter(flat))
        for name, shape in (("view", (4, 2, 1, 10, 12)), ("target", (4, 2, 1, 10, 12)), ("local", (4, 3, 1, 5, 4))):
            assert other[name].shape == shape
            assert torch.equal(one[name].squeeze(3), other[name])
            assert other[name].std() > 0


def test_refuses_at_once(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match=r"dims: wanted a crop of \(1, rows, columns\) .*, got \(6, 10, 12\)"):
        loader(mixed_index, dims=2)
    with pytest.raises(ValueError, match="a 'gpu' level needs a GPU"):
        loader(mixed_index, cache="gpu:1GB")
