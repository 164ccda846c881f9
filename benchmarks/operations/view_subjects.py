"""Subjects of `benchmarks.kernels` for views: gather, blur, noise, gamma, contrast, jitter, zscore, standardize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure.clock import HostClock
from benchmarks.operations import numpy_views as plain_views
from benchmarks.operations.subjects import RESCALE, Case, Subject, compared, difference, distinct, draw_raw, repeated
from dali_cr.ops.blur import blur, blur_ref
from dali_cr.ops.contrast import adjust_contrast, adjust_contrast_ref
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.gamma import gamma, gamma_ref
from dali_cr.ops.gather import gather_box, gather_views, gather_views_ref
from dali_cr.ops.jitter import jitter, jitter_ref
from dali_cr.ops.noise import add_noise, add_noise_ref
from dali_cr.ops.records.views import make_gather_record
from dali_cr.ops.standardize import standardize, standardize_ref
from dali_cr.ops.zscore import zscore, zscore_ref

Numbers = npt.NDArray[Any]

_TURN = 10.0
"""Rotation of a view about each axis in degrees, the default maximum of TorchIO's RandomAffine."""

_RADIUS = 8
_BYTES = {"blur": 24, "noise": 8, "gamma": 8, "contrast": 12, "jitter": 12, "zscore": 16, "standardize": 8}
"""Bytes that the implementation moves per voxel: blur has three passes, contrast and jitter read twice, zscore three
times."""

_GIVEN = (0.449, 0.226)
"""Mean and standard deviation of `standardize`: the averages of ImageNet's over the channels."""

VIEW_OPS = ("gather", *_BYTES)


def list_views(edges: tuple[int, ...], batches: tuple[int, ...]) -> list[Case]:
    """Return all cases of these operations."""
    dtypes = {op: "<i2" if op == "gather" else "<f4" for op in VIEW_OPS}
    return [Case(op, dtype, edge, batch) for op, dtype in dtypes.items() for edge in edges for batch in batches]


def prepare_view(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Draw inputs and return the subject; see `benchmarks.operations.subjects.prepare`."""
    return (_gather if case.op == "gather" else _intensity)(case, clock, rng)


def _gather(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare the gathering of one rotated view per volume, of the size of the volume."""
    raw, flat = draw_raw(case, rng)
    matrix = _turned()
    offset = (np.eye(3) - matrix) @ (np.array(case.crop) - 1) / 2
    stored = np.dtype(case.dtype)
    records = np.stack(
        [
            make_gather_record(
                dtype=stored.name,
                big_endian=case.dtype.startswith(">"),
                first_byte=0,
                itemsize=stored.itemsize,
                strides=(case.edge**2, case.edge, 1),
                lo=(0, 0, 0),
                hi=case.crop,
                rescale=RESCALE,
                matrix=matrix,
                offset=offset,
            )
            for _ in flat
        ]
    )[:, None, None]
    out, box = np.empty((case.batch, 1, 1, *case.crop), np.float32), np.empty(case.crop, np.float32)

    def on_host(which: Sequence[int] = range(case.batch)) -> Numbers:
        for i in which:
            row = raw[i, : case.edge**3 * stored.itemsize]
            decode_channel(row.view(case.dtype).reshape(case.crop), RESCALE, box)
            gather_box(box, (0, 0, 0), RESCALE.padding, matrix, offset, out[i, 0, 0])
        return out

    inputs = clock.asarray(raw), clock.asarray(records)
    cpu = clock.arrays is np
    run: Callable[[], Any] = on_host if cpu else (lambda: gather_views(*inputs, case.crop))
    part = compared(case, clock)

    def wrong() -> str | None:
        got = clock.asnumpy(run()[part])
        exact = gather_views_ref(raw[:1], records[:1], case.crop)
        return difference(got[:1], exact) or (None if cpu else difference(got, on_host(part)[part]))

    moved = case.voxels * 4 + case.batch * _touched(case, matrix, offset) * stored.itemsize
    return Subject(run, wrong, None if cpu else on_host, moved, moved)


def _turned() -> Numbers:
    """Return a rotation by `_TURN` about each axis."""
    cos, sin = np.cos(np.radians(_TURN)), np.sin(np.radians(_TURN))
    about_d = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    turned: Numbers = about_d @ np.roll(about_d, 1, (0, 1)) @ np.roll(about_d, 2, (0, 1))
    return turned


def _touched(case: Case, matrix: Numbers, offset: Numbers) -> int:
    """Return the number of voxels of a volume that its view needs for interpolation."""
    seen = np.zeros(np.array(case.crop) + 2, bool)
    for d in range(case.edge):
        places = np.stack(np.broadcast_arrays(d, *np.ogrid[: case.edge, : case.edge]), -1) @ matrix.T + offset
        below = np.clip(np.floor(places).astype(int), -1, case.edge - 1) + 1
        inside = ((places > -1) & (places < case.edge)).all(-1)
        for corner in np.ndindex(2, 2, 2):
            seen[tuple((below[inside] + corner).T)] = True
    return int(seen[1:-1, 1:-1, 1:-1].sum())


def _intensity(case: Case, clock: HostClock, rng: np.random.Generator) -> Subject:
    """Prepare an operation on intensities with PCRLv2's ranges."""
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
