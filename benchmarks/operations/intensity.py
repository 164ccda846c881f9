"""Subjects that change intensities: blur, noise, gamma, contrast, jitter, zscore, standardize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure.clock import HostClock
from benchmarks.operations import numpy_views as plain_views
from benchmarks.operations.subject import Case, Operations, Subject, compared, difference, distinct, repeated
from dali_cr.ops.blur import blur, blur_ref
from dali_cr.ops.contrast import adjust_contrast, adjust_contrast_ref
from dali_cr.ops.gamma import gamma, gamma_ref
from dali_cr.ops.jitter import jitter, jitter_ref
from dali_cr.ops.noise import add_noise, add_noise_ref
from dali_cr.ops.standardize import standardize, standardize_ref
from dali_cr.ops.zscore import zscore, zscore_ref

_RADIUS = 8
_BYTES = {"blur": 24, "noise": 8, "gamma": 8, "contrast": 12, "jitter": 12, "zscore": 16, "standardize": 8}
"""Bytes that the implementation moves per voxel: blur has three passes, contrast and jitter read twice, zscore three
times."""

_GIVEN = (0.449, 0.226)
"""Mean and standard deviation of `standardize`: the averages of ImageNet's over the channels."""

_OPS = tuple(_BYTES)


def list_cases(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases of these operations."""
    return [Case(op, "<f4", edge, batch) for op in _OPS for edge in edges for batch in batches]


def prepare(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs with PCRLv2's ranges and return the subject."""
    start = repeated(rng.standard_normal((distinct(case), 1, *case.crop), np.float32), case)
    sigmas = rng.uniform(0, 2, (case.batch, 3)).astype(np.float32)
    stds = rng.uniform(0, 0.25, case.batch).astype(np.float32)
    exponents = np.exp(rng.uniform(-0.3, 0.3, case.batch)).astype(np.float32)
    counters, seed = (
        np.stack([rng.integers(2**40, size=case.batch), np.arange(case.batch)], 1),
        int(rng.integers(2**63)),
    )
    factors = rng.uniform(0.6, 1.4, (case.batch, 3)).astype(np.float32)
    factors[:, 2] = factors[:, 2] > 1
    known: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
        "blur": (blur_ref, partial(blur, max_radius=_RADIUS), plain_views.blur, (sigmas,)),
        "noise": (add_noise_ref, add_noise, plain_views.add_noise, (stds, seed, counters)),
        "gamma": (gamma_ref, gamma, plain_views.gamma, (exponents,)),
        "contrast": (adjust_contrast_ref, adjust_contrast, plain_views.adjust_contrast, (exponents,)),
        "jitter": (jitter_ref, jitter, plain_views.jitter, (factors,)),
        "zscore": (zscore_ref, zscore, plain_views.zscore, ()),
        "standardize": (standardize_ref, standardize, plain_views.standardize, _GIVEN),
    }
    ours, on_device, plain, settings = known[case.op]
    there = tuple(clock.asarray(one) if isinstance(one, np.ndarray) else one for one in settings)
    array, out, cpu = clock.asarray(start), np.empty_like(start), clock.arrays is np
    array, part = start.copy() if array is start else array, compared(case, clock)
    on_host = partial(ours, start, *settings, out=out)
    run: Callable[[], Any] = on_host if cpu else (lambda: on_device(array, *there))

    def wrong() -> str | None:
        array[...] = clock.asarray(start)
        got = clock.asnumpy(run()[part])
        error = float(np.abs(got[:1] - plain(start[:1], *_parts(settings, [0]))).max())
        if not error < 1e-5:
            return f"{error:.1e} from the exact result"
        return None if cpu else difference(got, ours(start[part], *_parts(settings, part), out=out[: len(part)]))

    return Subject(run, wrong, None if cpu else on_host, case.voxels * 8, case.voxels * _BYTES[case.op])


def _parts(settings: Sequence[Any], samples: list[int]) -> Iterator[Any]:
    """Yield each setting for some of the samples."""
    for setting in settings:
        yield setting[samples] if isinstance(setting, np.ndarray) else setting


OPERATIONS = Operations(_OPS, list_cases, prepare)
