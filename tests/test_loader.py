"""Test the batches of a Loader: for both recipes the same bytes on a CPU, an emulated GPU and a GPU."""

import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dali_cr
from tests.helpers.prefork import start_parent
from tests.helpers.recipes import INDEXES, PAIRS, RECIPES, VIEWS, VIEWS_OF, contents, loader, samples

COUNT = 36


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Any:
    return RECIPES[request.param]


@pytest.fixture(scope="module")
def known(mixed_index: dali_cr.Index, recipe: Any) -> dict[int, bytes]:
    """Return the first samples, created one by one on a CPU."""
    with loader(mixed_index, recipe, batch_size=1, threads=1) as stream:
        return samples(stream, COUNT)


@pytest.mark.parametrize("name", INDEXES)
def test_contents_of_a_batch(name: str, recipe: Any, each_device: str, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    channels = index.channels
    shapes = {"input": (4, channels, 16, 20, 24), "target": (4, channels, 16, 20, 24)}
    if recipe is VIEWS:
        shapes = dict.fromkeys(("view", "target"), (4, 2, channels, 6, 10, 12)) | {"local": (4, 3, channels, 4, 5, 4)}
    with loader(index, recipe) as stream:
        batch = next(iter(stream))
        assert set(batch) == {*shapes, "sample", "case"}
        assert batch["case"] == [index.cases[stream.plan(i).case].name for i in range(4)]
        assert batch["sample"].dtype == torch.int64
        assert batch["sample"].tolist() == [0, 1, 2, 3]
        for name, shape in shapes.items():
            assert batch[name].shape == shape
            assert batch[name].dtype == torch.float32
            assert batch[name].is_cuda == (each_device == "cuda")
        for i in range(4):
            plan = stream.plan(i)
            assert len(plan.views) == (5 if recipe is VIEWS else 1)
            if recipe is PAIRS:
                swapped = dali_cr.swap_patches(batch["target"][i].cpu(), plan.swaps)
                assert torch.equal(swapped, batch["input"][i].cpu())


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize(("threads", "prefetch"), [(1, 3), (4, 1)])
def test_any_batch_size_threads_and_prefetch(
    mixed_index: dali_cr.Index,
    recipe: Any,
    known: dict[int, bytes],
    each_device: str,
    batch_size: int,
    threads: int,
    prefetch: int,
) -> None:
    options = {"batch_size": batch_size, "threads": threads, "prefetch": prefetch}
    with loader(mixed_index, recipe, **options) as stream:
        got = samples(stream, -(-COUNT // batch_size))
    assert {n: got[n] for n in known} == known


@pytest.mark.parametrize(("batch_size", "world_size"), [(4, 1), (8, 1), (4, 2), (4, 3)])
def test_any_world_size_and_each_number_once(
    mixed_index: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str, batch_size: int, world_size: int
) -> None:
    """Check also that the last batch is smaller."""
    got: list[tuple[int, bytes]] = []
    for rank in range(world_size):
        with loader(mixed_index, recipe, epochs=6, batch_size=batch_size, rank=rank, world_size=world_size) as stream:
            got += samples(stream).items()
    assert sorted(n for n, _ in got) == list(range(6 * len(mixed_index)))
    assert all(known[n] == content for n, content in got if n in known)


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resumes_anywhere_with_another_batch_size(
    mixed_index: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str, stop: int
) -> None:
    with loader(mixed_index, recipe, batch_size=3) as first:
        before = samples(first, stop) if stop else {}
        state = first.state_dict()
    with loader(mixed_index, recipe, batch_size=4) as second:
        samples(second, 2)
        second.load_state_dict(state)
        assert second.next_sample == 3 * stop
        after = samples(second, 4)
    together = before | after
    assert sorted(together) == list(range(3 * stop + 16))
    assert all(known[n] == together[n] for n in together)


def test_continues_after_break_and_after_close(
    mixed_index: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str
) -> None:
    with loader(mixed_index, recipe) as stream:
        got = samples(stream, 2) | samples(stream, 1)
        stream.close()
        got |= samples(stream, 3)
    assert sorted(got) == list(range(24))
    assert all(known[n] == got[n] for n in got)


def test_state_is_plain_and_errors_name_the_difference(
    mixed_index: dali_cr.Index, channel_index: dali_cr.Index, recipe: Any
) -> None:
    with loader(
        mixed_index, replace(recipe, foreground=np.float64(0.5)), seed=np.int64(5), batch_size=np.int64(3)
    ) as stream:
        next(stream.stream())
        state = json.loads(json.dumps(stream.state_dict()))
    crops = dali_cr.Restoration((6, 10, 12), VIEWS.swap, normalize=VIEWS.normalize)
    for other, what in (
        (loader(mixed_index, recipe, seed=6), "seed"),
        (loader(channel_index, recipe), "index"),
        (loader(mixed_index, replace(recipe, foreground=0.6)), "recipe"),
        (loader(mixed_index, crops), "recipe"),
    ):
        with other, pytest.raises(ValueError, match=f"but {what} differ"):
            other.load_state_dict(state)


def test_a_state_of_release_0_2_0_with_integers_is_resumed(mixed_index: dali_cr.Index) -> None:
    """The state has the recipe's fingerprint of that release, which hashed 0 and 100 as given."""
    recipe = replace(PAIRS, normalize=("window", 0, 100))
    with loader(mixed_index, recipe) as stream:
        state = stream.state_dict()
        known = "c8736cf7fed63ad1a0c1cd659a43f880377dfcc7bec8b8d5049478ecd9222464"
        stream.load_state_dict({**state, "recipe": known})
        assert known != stream.state_dict()["recipe"] == state["recipe"]
        with pytest.raises(ValueError, match="but recipe differ"):
            stream.load_state_dict({**state, "recipe": replace(PAIRS, normalize=("window", 0, 99)).fingerprint})


def test_tensors_outlive_their_batch(mixed_index: dali_cr.Index, recipe: Any, each_device: str) -> None:
    """Check that memory of tensors in use is not reused, because no copy is made."""
    with loader(mixed_index, recipe, batch_size=3) as stream:
        kept = [batch for batch, _ in zip(stream.stream(), range(12), strict=False)]
        copies = [contents(batch) for batch in kept]
        samples(stream, 12)
    del stream
    gc.collect()
    assert [contents(batch) for batch in kept] == copies


@pytest.mark.parametrize(
    "cache", ["host:1MB", "host:1GB", "disk", "gpu:1GB", "gpu:100KB", ("gpu:100KB", "host:1GB")], ids=str
)
def test_the_same_with_a_cache(
    mixed_index: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str, cache: Any, tmp_path: Path
) -> None:
    if each_device == "cpu" and "gpu" in str(cache):
        with pytest.raises(ValueError, match="a 'gpu' level needs a GPU"):
            loader(mixed_index, recipe, cache=cache)
        return
    with loader(mixed_index, recipe, cache=f"disk:{tmp_path}" if cache == "disk" else cache) as stream:
        assert samples(stream, COUNT // 4) == known
        report = stream.cache_report()
    assert all(numbers["hits"] > 0 for numbers in report.values())
    assert len(report) == (2 if isinstance(cache, tuple) else 1)


@pytest.fixture(scope="module")
def packed_index(mixed_index: dali_cr.Index, tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return an index of brick stores of the same volumes."""
    folder = tmp_path_factory.mktemp("packed")
    mixed_index.save(folder / "index.json")
    dali_cr.pack(folder / "index.json", folder / "stores", progress=False)
    return dali_cr.Index.load(folder / "stores" / "index.json")


@pytest.mark.parametrize("cache", [(), "gpu:100KB"], ids=str)
def test_the_same_from_brick_stores(
    packed_index: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str, cache: Any
) -> None:
    assert all(case.volumes[0].packed for case in packed_index.cases)
    with loader(packed_index, recipe, cache=() if each_device == "cpu" else cache) as stream:
        assert samples(stream, COUNT // 4) == known
    several = replace(recipe, crops_per_volume=4)
    with loader(packed_index, several) as stream, loader(packed_index, several, batch_size=1, device="cpu") as alone:
        assert samples(stream, 2) == samples(alone, 8)


def test_samples_of_one_volume_follow_one_another(mixed_index: dali_cr.Index, recipe: Any, each_device: str) -> None:
    several = replace(recipe, crops_per_volume=3)
    with loader(mixed_index, several, batch_size=6) as stream:
        cases = [stream.plan(n).case for n in range(12)]
        together = samples(stream, 2)
    assert cases[::3] == cases[1::3] == cases[2::3]
    with loader(mixed_index, several, batch_size=1, threads=1, device="cpu") as stream:
        assert samples(stream, 12) == together


@pytest.fixture
def breakable(mixed_index: dali_cr.Index, tmp_path: Path) -> dali_cr.Index:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    return replace(mixed_index, root=root)


@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_broken_file_raises_after_the_batches_before_it(
    breakable: dali_cr.Index, recipe: Any, known: dict[int, bytes], each_device: str, prefetch: int
) -> None:
    with loader(breakable, recipe, batch_size=1, prefetch=prefetch) as stream:
        number = 6
        path = breakable.root / stream.plan(number).path
        content, status = path.read_bytes(), path.stat()
        stream.close()
        path.unlink()
        first = min(n for n in range(number + 1) if breakable.root / stream.plan(n).path == path)
        got: dict[int, bytes] = {}
        with pytest.raises(dali_cr.VolumeError, match=path.name):
            for batch in stream.stream():
                got |= contents(batch)
        assert sorted(got) == list(range(first))
        assert all(known[n] == got[n] for n in got)
        assert stream.next_sample == first
        with pytest.raises(dali_cr.VolumeError, match=path.name):
            next(iter(stream))
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert known[first] == samples(stream, 1)[first]


@pytest.mark.parametrize("cache", [(), "gpu:1GB"], ids=str)
def test_skip_counts_and_is_kept_in_the_state(
    breakable: dali_cr.Index, recipe: Any, each_device: str, cache: Any
) -> None:
    cache = () if each_device == "cpu" else cache
    gone = breakable.cases[3]
    (breakable.root / gone.volumes[0].path).unlink()
    with loader(breakable, recipe, on_error="skip", cache=cache) as stream:
        whole = samples(stream, 8)
        assert list(stream.skipped) == [gone.name]
        assert "No such file" in stream.skipped[gone.name]
        state = stream.state_dict()
    with loader(breakable, recipe, on_error="skip", device="cpu") as again:
        again.load_state_dict({**state, "next": 0})
        assert again.skipped
        assert samples(again, 8) == whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"device": "tpu"},
        {"device": "cuda:x"},
        {"seed": -1},
        {"epochs": -1},
        {"epochs": 0},
        {"epochs": 1, "rank": 0, "world_size": 2},
        {"threads": 0},
        {"rank": 3},
        {"batch_size": 2.0},
        {"batch_size": True},
        {"timeout": 0},
        {"prefetch": 0},
        {"on_error": "ignore"},
        {"transform": 3},
    ],
    ids=str,
)
def test_refuses_invalid_arguments(mixed_index: dali_cr.Index, wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        loader(mixed_index, PAIRS, **wrong)


def test_refuses_a_folder_in_place_of_an_index() -> None:
    with pytest.raises(TypeError, match=r"index: expected an Index, got 'scans/'; dali_cr\.scan\(folder\) returns one"):
        dali_cr.Loader("scans/", PAIRS, batch_size=1, device="cpu")  # type: ignore[arg-type]


def test_a_transform_changes_the_batches(mixed_index: dali_cr.Index, recipe: Any) -> None:
    def rename(batch: dict[str, Any]) -> tuple[torch.Tensor, list[str]]:
        return batch["target"] * 2, batch["case"]

    with loader(mixed_index, recipe) as plain, loader(mixed_index, recipe, transform=rename) as doubled:
        for one, (target, names) in zip(plain, doubled, strict=True):
            assert torch.equal(one["target"] * 2, target)
            assert one["case"] == names


def test_a_transform_that_fails_loses_no_batch(mixed_index: dali_cr.Index) -> None:
    fails = [False, True, False]

    def fail(batch: dict[str, Any]) -> dict[str, Any]:
        if fails.pop(0):
            raise KeyError("mine")
        return batch

    with loader(mixed_index, PAIRS, transform=fail) as stream:
        batches = iter(stream)
        assert next(batches)["sample"].tolist() == [0, 1, 2, 3]
        with pytest.raises(KeyError, match="mine"):
            next(batches)
        assert next(iter(stream))["sample"].tolist() == [4, 5, 6, 7]


def test_names_of_cases_that_replace_broken_ones(breakable: dali_cr.Index) -> None:
    gone = breakable.cases[3]
    (breakable.root / gone.volumes[0].path).unlink()
    with loader(breakable, PAIRS, on_error="skip") as stream:
        for batch in stream:
            numbers = batch["sample"].tolist()
            assert batch["case"] == [breakable.cases[stream.plan(n).case].name for n in numbers]
            assert gone.name not in batch["case"]


def test_its_repr_is_short(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, PAIRS) as stream:
        next(iter(stream))
        wanted = (
            f"Loader({mixed_index!r}, Restoration, batch_size=4, device='cpu', seed=5: 3 steps an epoch, next sample 4)"
        )
        assert repr(stream) == wanted


def test_refuses_an_index_of_mixed_channels(mixed_index: dali_cr.Index) -> None:
    case = mixed_index.cases[0]
    both = replace(case, volumes=case.volumes * 2)
    with pytest.raises(ValueError, match="same number of channels"):
        loader(replace(mixed_index, cases=(both, *mixed_index.cases[1:])), PAIRS)


def test_float16(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, replace(PAIRS, dtype="float16")) as half, loader(mixed_index, PAIRS) as single:
        one, other = next(iter(half)), next(iter(single))
        assert one["target"].dtype == torch.float16
        assert torch.equal(one["target"], other["target"].half())


def test_images_and_slices_have_no_axis_d(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (30, 24), np.uint8)).save(tmp_path / f"{number}.png")
    flat = replace(VIEWS_OF["flat"], normalize="percentile")
    for index in (dali_cr.scan(tmp_path, "*.png", progress=False), mixed_index):
        with loader(index, flat) as thick, loader(index, flat, dims=2) as thin:
            one, other = next(iter(thick)), next(iter(thin))
        for name, shape in (("view", (4, 2, 1, 10, 12)), ("target", (4, 2, 1, 10, 12)), ("local", (4, 3, 1, 5, 4))):
            assert other[name].shape == shape
            assert torch.equal(one[name].squeeze(3), other[name])
            assert other[name].std() > 0
    with pytest.raises(ValueError, match=r"dims: expected a crop of \(1, rows, columns\) .*, got \(6, 10, 12\)"):
        loader(mixed_index, VIEWS, dims=2)


def test_gloo_ranks_share_the_stream(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    """Test that two processes under torch.distributed use their ranks without further settings."""
    mixed_index.save(tmp_path / "index.json")
    program = (
        "import sys, torch.distributed as dist, dali_cr\n"
        "dist.init_process_group('gloo', init_method='file://' + sys.argv[1], rank=int(sys.argv[2]), world_size=2)\n"
        "index = dali_cr.Index.load(sys.argv[3])\n"
        "recipe = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)))\n"
        "with dali_cr.Loader(index, recipe, batch_size=2, device='cpu') as loader:\n"
        "    for _, batch in zip(range(2), loader.stream()): print(*batch['sample'].tolist())\n"
    )
    commands = [["-c", program, tmp_path / "store", rank, tmp_path / "index.json"] for rank in range(2)]
    printed = [done.stdout.split() for done in start_parent().run_together(commands, [{}, {}])]
    assert printed == [["0", "1", "4", "5"], ["2", "3", "6", "7"]]


def test_a_later_process_group_is_refused(mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test a process group created after the loader, as in Lightning."""
    with loader(mixed_index, PAIRS) as late, loader(mixed_index, PAIRS, rank=0, world_size=1) as alone:
        monkeypatch.setattr("dali_cr.pipeline.process._ranks", lambda torch: (1, 2))
        for batches in (iter(late), late.stream()):
            with pytest.raises(RuntimeError, match="before torch.distributed had its 2 ranks"):
                next(batches)
        assert next(iter(alone))["sample"].tolist() == [0, 1, 2, 3]
    with loader(mixed_index, PAIRS) as second:
        assert next(iter(second))["sample"].tolist() == [4, 5, 6, 7]


def test_scan_read_and_swap_without_any_extra() -> None:
    """Check that functions that need DALI, torch or CuPy name the extra, and that others do not import them."""
    program = (
        "import sys\n"
        "for name in ('nvidia.dali', 'torch', 'cupy'): sys.modules[name] = None\n"
        "import dali_cr, numpy as np\n"
        "from nibabel.testing import data_path\n"
        "index = dali_cr.scan(data_path, 'anatomical.nii', progress=False)\n"
        "volume = dali_cr.read_volume(index.root / index.cases[0].name)\n"
        "swaps = dali_cr.draw_swaps(0, 0, volume.shape[1:], dali_cr.Swap(10, (2, 5)))\n"
        "assert np.array_equal(dali_cr.unswap_patches(dali_cr.swap_patches(volume, swaps), swaps), volume)\n"
        "recipe = dali_cr.Restoration(crop=(8, 8, 8), swap=dali_cr.Swap(2, 2))\n"
        "for make in (lambda: dali_cr.Loader(index, recipe, batch_size=1, device='cpu'),\n"
        "             lambda: dali_cr.restoration_pipeline(index, recipe, 1, 'cpu')):\n"
        "    try: make()\n"
        "    except ImportError as error: assert '.[cu' in str(error), error\n"
        "    else: raise SystemExit('no ImportError')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_public_names() -> None:
    assert all(hasattr(dali_cr, name) for name in dali_cr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dali_cr.nothing
