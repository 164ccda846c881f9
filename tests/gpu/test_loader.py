"""Test loaders on a GPU: the same bits as on the CPU, the order of streams, and reused memory.

The tests of `tests/test_loader*.py` (short batches, caches, `break`, states, errors) also run on a GPU.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from tests.helpers.recipes import CORRUPTED, INDEXES, PAIRS, PAIRS_OF, RECIPES, VIEWS_OF, contents, loader, samples

pytestmark = pytest.mark.gpu
cupy: Any = pytest.importorskip("cupy", reason="the GPU's tests need CuPy", exc_type=ImportError)
ALL: dict[str, Any] = {**PAIRS_OF, **VIEWS_OF, **CORRUPTED, "the authors' sizes": dali_cr.Views(normalize="percentile")}


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
@pytest.mark.parametrize("name", INDEXES)
def test_the_loaders_bits(name: str, recipe: Any, request: pytest.FixtureRequest) -> None:
    """Compare all samples of a short epoch, for several cache sizes on the GPU."""
    index = request.getfixturevalue(name)
    options = {"batch_size": 3, "seed": 7, "epochs": 3, "rank": 0, "world_size": 1}
    with loader(index, recipe, **options) as stream:
        wanted = samples(stream)
    for cache in ((), "gpu:1GB", "gpu:100KB", ("gpu:100KB", "host:1GB")):
        with loader(index, recipe, device="cuda", cache=cache, **options) as stream:
            got = samples(stream)
        assert [n for n in wanted if got[n] != wanted[n]] == [], cache
        assert len(got) == len(wanted)


@pytest.mark.parametrize("prefetch", [1, 2, 4])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_batches_that_are_kept_do_not_change(mixed_index: dali_cr.Index, recipe: Any, prefetch: int) -> None:
    """Alternate large and small batches on a busy GPU: none may be written while it is read."""
    options = {"batch_size": 8, "seed": 1, "epochs": 2, "rank": 0, "world_size": 1}
    with loader(mixed_index, recipe, **options) as stream:
        wanted = samples(stream)
    kept = []
    with (
        loader(mixed_index, recipe, device="cuda", prefetch=prefetch, **options) as stream,
        torch.cuda.stream(torch.cuda.Stream()),
    ):
        for _ in range(6):
            for batch in stream:
                kept.append(batch)
                torch.cuda._sleep(3_000_000)
    torch.cuda.synchronize()
    for batch in kept:
        assert contents(batch).items() <= wanted.items()


def test_tensors_on_a_side_stream_dropped_early_and_poisoned(mixed_index: dali_cr.Index) -> None:
    """Check that work queued on a tensor sees its batch, although DALI reuses the memory."""
    with dali_cr.Loader(mixed_index, PAIRS, batch_size=4, device="cpu", seed=3) as stream:
        wanted = [float(b["target"].double().sum()) for b, _ in zip(stream.stream(), range(40), strict=False)]
    side, got = torch.cuda.Stream(), []
    with dali_cr.Loader(mixed_index, PAIRS, batch_size=4, device="cuda", seed=3) as stream, torch.cuda.stream(side):
        for batch, _ in zip(stream.stream(), range(40), strict=False):
            torch.cuda._sleep(2_000_000)
            got.append(batch["target"].double().sum())
            del batch
            torch.empty(1 << 22, device="cuda").fill_(float("nan"))
            cupy.empty(1 << 20, "float32").fill(float("nan"))
    side.synchronize()
    np.testing.assert_allclose(torch.stack(got).cpu().numpy(), wanted, rtol=1e-12)


def test_a_fresh_loader_compiles_before_the_first_batch(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match=r"expected one of \d+ GPUs, got 'cuda:99'"):
        dali_cr.Loader(mixed_index, PAIRS, batch_size=2, device="cuda:99")


def test_float16_recipes_are_the_float32_ones_rounded(mixed_index: dali_cr.Index) -> None:
    batches = []
    for dtype in ("float16", "float32"):
        recipe = replace(PAIRS, dtype=dtype)  # type: ignore[arg-type]
        with dali_cr.Loader(mixed_index, recipe, batch_size=8, device="cuda", seed=2) as stream:
            batches.append(next(iter(stream))["input"].cpu())
    assert torch.equal(batches[0], batches[1].half())
