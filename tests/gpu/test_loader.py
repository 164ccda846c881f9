"""A Loader on a GPU: one buffer a batch, used again; short batches, errors in their order, batches that are kept."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dali_cr
from tests.helpers.recipes import RECIPES

pytestmark = pytest.mark.gpu
pytest.importorskip("cupy", reason="the GPU's tests need CuPy", exc_type=ImportError)

CACHES = [(), ("gpu:1GB",), ("gpu:100KB", "host:1GB")]


def tensors(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in batch.items() if name != "case"}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("cache", CACHES, ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_exact_passes_with_a_short_last_batch(name: str, cache: tuple[str, ...], mixed_index: dali_cr.Index) -> None:
    options: dict[str, Any] = {"batch_size": 4, "seed": 3, "epochs": 2}
    with dali_cr.Loader(mixed_index, RECIPES[name], device="cpu", **options) as loader:
        wanted = [tensors(batch) for batch in loader]
    with dali_cr.Loader(mixed_index, RECIPES[name], device="cuda", cache=cache, **options) as loader:
        for _ in range(2):
            got = [tensors(batch) for batch in loader]
            assert len(got) == len(wanted)
            assert len(got[-1]["sample"]) == 2 * len(mixed_index) % 4
            assert all(map(same, got, wanted))


@pytest.mark.parametrize("name", RECIPES)
def test_batches_that_are_kept_do_not_change(name: str, mixed_index: dali_cr.Index) -> None:
    """Many batches are read and drawn into the same page-locked buffers while the first ones are still in use."""
    side = torch.cuda.Stream()
    with (
        dali_cr.Loader(mixed_index, RECIPES[name], batch_size=5, device="cuda", seed=2, prefetch=3) as loader,
        torch.cuda.stream(side),
    ):
        kept = [batch for _, batch in zip(range(25), loader.stream(), strict=False)]
    torch.cuda.synchronize()
    with dali_cr.Loader(mixed_index, RECIPES[name], batch_size=5, device="cpu", seed=2) as loader:
        for batch, wanted in zip(kept, loader.stream(), strict=False):
            assert same(tensors(batch), tensors(wanted))


@pytest.mark.parametrize("name", RECIPES)
def test_good_batches_come_before_an_error(name: str, mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    index = replace(mixed_index, root=root)
    delivered: dict[str, list[list[int]]] = {}
    (root / index.cases[4].volumes[0].path).unlink()
    for device in ("cpu", "cuda"):
        delivered[device] = []
        with dali_cr.Loader(index, RECIPES[name], batch_size=2, device=device, seed=8) as loader:
            with pytest.raises(dali_cr.VolumeError, match=Path(index.cases[4].volumes[0].path).name):
                for batch in loader.stream():
                    delivered[device].append(batch["sample"].tolist())
            state = loader.state_dict()
        with dali_cr.Loader(mixed_index, RECIPES[name], batch_size=2, device=device, seed=8) as loader:
            loader.load_state_dict({**state, "index": mixed_index.fingerprint})
            assert next(iter(loader.stream()))["sample"].tolist() == [
                2 * len(delivered[device]),
                2 * len(delivered[device]) + 1,
            ]
    assert delivered["cuda"] == delivered["cpu"]
