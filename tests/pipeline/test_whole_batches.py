"""The graph of a Loader on a GPU, the kernels emulated: a batch is one buffer, and the samples are the CPU's."""

from dataclasses import replace

import numpy as np
import pytest

import dali_cr
from dali_cr.pipeline.graph import build_loader_pipeline, make_samples
from dali_cr.pipeline.raw import RawSource
from dali_cr.plan.stream import Stream
from dali_cr.read.gpu_cache import Arena, frame_bytes
from tests.cuda_on_cpu.host import HostCuda

SWAP = dali_cr.Swap(8, (2, 6))
VIEWS = dali_cr.Views(
    shape=(6, 10, 12),
    sizes=((6, 10, 12), (9, 9, 12), (12, 15, 20)),
    local_shape=(4, 5, 4),
    local_sizes=((4, 4, 4), (2, 3, 4), (6, 8, 6)),
    locals=3,
    swap=dali_cr.Swap(5, 2),
    flips=("D", "H", "W"),
    foreground=0.5,
)
RECIPES = {
    "pairs": dali_cr.Restoration(crop=(16, 20, 24), swap=SWAP, flips=("D", "H", "W"), foreground=0.5),
    "half": dali_cr.Restoration(crop=(16, 20, 24), swap=SWAP, dtype="float16", pretext="inpaint"),
    "spacing": dali_cr.Restoration(crop=(16, 20, 24), swap=SWAP, spacing=(2.0, 2.0, 2.0)),
    "each patch once": dali_cr.Restoration(crop=(16, 20, 24), swap=replace(SWAP, overlap=False)),
    "mae": dali_cr.Restoration(crop=(16, 20, 24), pretext="mae", mask_block=(2, 3, 4)),
    "views": VIEWS,
    "views, each patch once": replace(VIEWS, swap=dali_cr.Swap(5, 2, overlap=False)),
}


@pytest.mark.parametrize("share", [None, 0.5, 1.0])
@pytest.mark.parametrize("name", RECIPES)
def test_same_samples(name: str, share: float | None, cuda_on_cpu: HostCuda, mixed_index: dali_cr.Index) -> None:
    recipe = RECIPES[name]
    sizes = [frame_bytes(v.geometry) for case in mixed_index.cases for v in case.volumes]
    arena = None if share is None else Arena(sum(sizes) * share, mixed_index)
    source = RawSource(make_samples(mixed_index, recipe, 7), Stream(3, end=20), arena=arena, whole=True)
    pipe = build_loader_pipeline(source, "cpu", 2, source.batch)
    loader = dali_cr.Loader(mixed_index, recipe, batch_size=3, device="cpu", seed=7)
    for step, batch in zip(range(6), loader.stream(), strict=False):
        made = dict(zip(source.samples.names, pipe.run(), strict=True))
        for key, output in made.items():
            assert np.array_equal(np.asarray(output.as_tensor())[0], batch[key].numpy()), (step, key)
    loader.close()
    source.close()
