"""Compute plans of single samples from their definitions in plain Python and NumPy."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.rng import Purpose, draw_words
from dali_cr.volume.grid import crop_map, resampled_shape

Plan = dict[str, Any]
Triple = tuple[int, int, int]


def words_of(seed: int, number: int, purpose: Purpose, count: int, attempt: int = 0) -> list[int]:
    words: list[int] = draw_words(seed, [number], purpose, -(-count // 2), attempt)[0].tolist()
    return words


def rows_of(words: list[int], length: int) -> list[list[int]]:
    return [words[first : first + length] for first in range(0, len(words), length)]


def unit(word: int) -> float:
    return (word >> 11) * 2.0**-53


def case_of(seed: int, number: int, cases: int, repeats: int, broken: Collection[int] = ()) -> tuple[int, int]:
    """Return the case of a sample, and the number of broken cases before it."""
    epoch, place = divmod(number, cases * repeats)
    keys = [words_of(seed, (case | epoch << 32) % 2**64, Purpose.ORDER, 1)[0] for case in range(cases)]
    case, attempt = sorted(range(cases), key=keys.__getitem__)[place // repeats], 0
    while case in broken:
        attempt += 1
        case = words_of(seed, number, Purpose.REDRAW, 1, attempt)[0] % cases
    return case, attempt


def place(word: int, size: int, length: int) -> int:
    """Return the origin of a box along an axis: uniform inside the volume, or centred if it is larger."""
    return word % (length - size + 1) if length >= size else -((size - length) // 2)


def origin_of(
    seed: int,
    number: int,
    case: Case,
    size: Triple,
    lengths: Triple,
    factors: Any,
    chance: float,
    layer: int | None = None,
) -> list[int]:
    """Return the origin of a box that may be centred in the foreground."""
    which, word, *words = words_of(seed, number, Purpose.ORIGIN, 5)
    cells = sum(volume.foreground.astype(np.int64) for volume in case.volumes)
    if layer is not None:
        cells = np.where(np.arange(len(cells))[:, None, None] == layer, cells, 0)
    if unit(which) >= chance or not cells.sum():
        return [place(*three) for three in zip(words, size, lengths, strict=False)]
    # Repeat each cell by its number of foreground voxels.
    drawn = np.repeat(np.arange(cells.size), cells.ravel())[word % int(cells.sum())]
    origin = []
    for axis, cell in enumerate(np.unravel_index(drawn, cells.shape)):
        edge = -(-case.shape[axis] // 16)
        voxel = int(cell) * edge + words[axis] % min(edge, case.shape[axis] - int(cell) * edge)
        first = math.floor((voxel + 0.5) * factors[axis]) - size[axis] // 2
        spare = lengths[axis] - size[axis]
        origin.append(min(max(first, 0), spare) if spare >= 0 else place(0, size[axis], lengths[axis]))
    return origin


def flips_of(word: int, axes: str, flips: Collection[str]) -> list[bool]:
    return [bool(word >> bit & 1) and axis in flips for bit, axis in zip((61, 62, 63), axes, strict=True)]


def reach_of(matrix: np.ndarray, offset: np.ndarray, shape: Triple, lengths: Triple) -> list[list[int]]:
    """Return the box of voxels that a view needs, [start, stop]."""
    ends = matrix * (np.array(shape) - 1)
    low = np.floor(offset + np.minimum(ends, 0).sum(1) - 1e-6).astype(int).tolist()
    high = np.floor(offset + np.maximum(ends, 0).sum(1) + 1e-6).astype(int).tolist()
    start = [min(max(a, 0), length - 1) for a, length in zip(low, lengths, strict=True)]
    return [start, [min(max(b + 2, a + 1), length) for a, b, length in zip(start, high, lengths, strict=True)]]


def crop_of(seed: int, number: int, case: Case, recipe: dali_cr.Restoration, plane: int | None = None) -> Plan:
    """Return the fields of a crop's plan, for a case reordered for slices."""
    lengths = resampled_shape(case.shape, case.volumes[0].spacing, recipe.spacing)
    layer = None if plane is None else plane // -(-case.shape[0] // 16)
    factors = np.array(lengths) / np.array(case.shape)
    origin = origin_of(seed, number, case, recipe.crop, lengths, factors, recipe.foreground, layer)
    if plane is not None:
        origin[0] = plane
    axes = "DHW" if recipe.slices is None else "".join("DHW"[axis] for axis in recipe.slices.order)
    flips = flips_of(words_of(seed, number, Purpose.FLIP, 1)[0], axes, recipe.flips)
    box = [
        [max(0, a) for a in origin],
        [min(n, a + c) for a, c, n in zip(origin, recipe.crop, case.shape, strict=True)],
    ]
    swaps = dali_cr.draw_swaps(seed, number, recipe.crop, recipe.swap)
    plan = {"origins": [origin], "flips": [flips], "boxes": box, "swaps": [swaps]}
    if recipe.spacing is None:
        return plan
    matrix, offset = crop_map((origin[0], origin[1], origin[2]), flips, recipe.crop, case.shape, lengths)
    if lengths != case.shape:
        plan["boxes"] = reach_of(matrix, offset, recipe.crop, case.shape)
    return plan | {"matrices": [matrix], "offsets": [offset]}


def overlap_of(origin_a: Any, size_a: Any, origin_b: Any, size_b: Any) -> Any:
    """Return the intersection over union of boxes, each (..., 3)."""
    stops = np.minimum(np.add(origin_a, size_a), np.add(origin_b, size_b))
    shared = np.maximum(stops - np.maximum(origin_a, origin_b), 0).prod(-1)
    return shared / (np.prod(size_a, -1) + np.prod(size_b, -1) - shared)


def second_of(
    seed: int, number: int, origin: Any, first: Triple, size: Triple, lengths: Triple, overlap: float
) -> list:
    """Return the origin of a box that overlaps the first one."""
    least = np.minimum(first, size)
    wanted = overlap / (1 + overlap) * float(math.prod(first) + math.prod(size))
    edges = np.floor(wanted / (least.prod() // least) * (1 - 1e-12)).astype(np.int64) + 1
    edges = np.minimum(edges, least)
    ends = [[place(word, a, b) for word in (0, max(b - a, 0))] for a, b in zip(size, lengths, strict=True)]
    low = np.maximum([low for low, _ in ends], np.array(origin) + edges - size)
    high = np.minimum([high for _, high in ends], np.array(origin) + first - edges)
    for attempt in range(64):
        for row in rows_of(words_of(seed, number, Purpose.PAIR, 64, attempt), 4):
            tried = [a + word % (b - a + 1) for word, a, b in zip(row, low.tolist(), high.tolist(), strict=False)]
            if overlap_of(origin, first, tried, size) > overlap:
                return tried
    raise AssertionError("no place found")


def area_box(seed: int, number: int, view: int, area: tuple[float, float], lengths: Triple) -> Triple:
    """Return the size of a box with a share of a slice's area, by torchvision's definition."""
    _, height, width = lengths
    for share, shape in rows_of(words_of(seed, number, Purpose.AREA, 20 * (view + 1))[20 * view :], 2):
        voxels = (area[0] + (area[1] - area[0]) * unit(share)) * float(height * width)
        ratio = 4 / 3 * math.exp(2 * math.log(4 / 3) * (unit(shape) - 1))
        high, wide = (math.floor(math.sqrt(x) + 0.5) for x in (voxels / ratio, voxels * ratio))
        if 0 < high <= height and 0 < wide <= width:
            return 1, high, wide
    return 1, min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))


def hole_of(words: list[int], shape: Triple, edge: int) -> list[Any]:
    """Return origin, zeros and size of a square around a voxel, without what lies outside of the view."""
    starts = [word % length - edge // 2 for word, length in zip(words, shape, strict=False)]
    stops = [min(start + edge, length) for start, length in zip(starts, shape, strict=True)]
    origin = [max(start, 0) for start in starts]
    return [origin, [0, 0, 0], [stop - start for start, stop in zip(origin, stops, strict=True)]]


def jitter_of(seed: int, number: int, view: int, recipe: dali_cr.Views) -> tuple[bool, list[float]]:
    """Return whether a view is blurred, and its factors of brightness and contrast and their order."""
    blurred, order, *factors = words_of(seed, number, Purpose.JITTER, 4 * (view + 1))[4 * view :]
    most = recipe.brightness, recipe.contrast
    changes = [1 + x * (2 * unit(word) - 1) for x, word in zip(most, factors, strict=True)]
    return unit(blurred) < recipe.blur_probability, [*changes, float(all(most) and order >> 63)]


def map_of(view: Plan, shape: Triple, units: Any, spacing: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine map of a view to the voxels of its volume."""
    radians = [angle * (math.pi / 180) for angle in view["angles"]]
    (cd, ch, cw), (sd, sh, sw) = map(math.cos, radians), map(math.sin, radians)
    turn = np.array(
        [
            [ch * cw, -ch * sw, sh],
            [cd * sw + sd * sh * cw, cd * cw - sd * sh * sw, -sd * ch],
            [sd * sw - cd * sh * cw, sd * cw + cd * sh * sw, cd * ch],
        ]
    )
    size, factors = np.array(view["sizes"]), np.array(units) / spacing
    steps = size / np.array(shape) / view["scales"] * np.where(view["flips"], -1.0, 1.0)
    matrix = turn * steps * (np.array(units)[None] / np.array(spacing)[:, None])
    middle = matrix * ((np.array(shape) - 1) / 2)
    centre = (view["origins"] + (size - 1) / 2 + 0.5) * factors - 0.5
    return matrix, centre - (middle[:, 0] + middle[:, 1] + middle[:, 2])


def boxes_of(
    seed: int, number: int, case: Case, recipe: dali_cr.Views, words: list[list[int]], lengths: Triple, factors: Any
) -> tuple[list[Any], list[Any]]:
    """Return origins and sizes of boxes that overlap."""
    one = recipe.sizes[words[0][0] % len(recipe.sizes)]
    others = [size for size in recipe.sizes if overlap_of((0, 0, 0), one, (0, 0, 0), size) > recipe.overlap]
    sizes = [one, others[words[1][0] % len(others)]]
    origins = [origin_of(seed, number, case, one, lengths, factors, recipe.foreground)]
    origins.append(second_of(seed, number, origins[0], *sizes, lengths, recipe.overlap))
    low, high = np.min(origins, 0).tolist(), np.max(np.add(origins, sizes), 0).tolist()
    for own in words[2:]:
        sizes.append(recipe.local_sizes[own[0] % len(recipe.local_sizes)])
        origins.append([])
        for word, size, a, b, n in zip(own[1:4], sizes[-1], low, high, lengths, strict=True):
            start = max(a, 0)
            origin = start + place(word, size, min(b, n) - start)
            origins[-1].append(min(max(origin, a), b - size))
    return origins, sizes


def views_of(seed: int, number: int, case: Case, recipe: dali_cr.Views) -> Plan:
    """Return the fields of a plan of views."""
    spacing = case.volumes[0].spacing
    units = recipe.spacing or spacing
    lengths = resampled_shape(case.shape, spacing, recipe.spacing)
    words = rows_of(words_of(seed, number, Purpose.VIEW, 16 * recipe.count), 16)
    factors = np.array(spacing) / units
    if recipe.area and recipe.local_area:
        ranges = [recipe.area] * 2 + [recipe.local_area] * recipe.locals
        sizes = [area_box(seed, number, view, area, lengths) for view, area in enumerate(ranges)]
        origins = [origin_of(seed, number, case, sizes[0], lengths, factors, recipe.foreground)]
        for own, size in zip(words[1:], sizes[1:], strict=True):
            origins.append([origins[0][0], *(place(own[i + 1], size[i], lengths[i]) for i in (1, 2))])
    else:
        origins, sizes = boxes_of(seed, number, case, recipe, words, lengths, factors)
    plan: dict[str, list[Any]] = {"origins": origins, "sizes": sizes}
    within = [0, 1, 1] if recipe.flat else [1, 1, 1]
    about = [1, 0, 0] if recipe.flat else [1, 1, 1]
    boxes = []
    for v, own in enumerate(words):
        around = [2 * unit(word) - 1 for word in own]
        view = {
            "origins": origins[v],
            "sizes": sizes[v],
            "flips": flips_of(own[10], "DHW", recipe.flips),
            "angles": [recipe.degrees * x * on for x, on in zip(around[4:7], about, strict=True)],
            "scales": [1 + recipe.scale * x * on for x, on in zip(around[7:10], within, strict=True)],
        }
        blurred, factors = jitter_of(seed, number, v, recipe)
        sigmas = [own[11]] * 3 if recipe.isotropic_blur else own[11:14]
        blur = [recipe.blur * unit(word) * on * blurred for word, on in zip(sigmas, within, strict=True)]
        numbers = [*blur, recipe.noise * unit(own[14]), math.exp(recipe.gamma * around[15]), *factors]
        view["intensities"] = np.array(numbers).astype(np.float32)
        shape = recipe.shape if v < 2 else recipe.local_shape
        view["matrices"], view["offsets"] = map_of(view, shape, units, spacing)
        boxes.append(reach_of(view["matrices"], view["offsets"], shape, case.shape))
        for name in view.keys() - {"origins", "sizes"}:
            plan.setdefault(name, []).append(view[name])
    starts, stops = np.moveaxis(np.array(boxes), 1, 0)
    twice = dali_cr.Swap(2 * recipe.swap.iterations, recipe.swap.patch)
    swaps = dali_cr.draw_swaps(seed, number, recipe.shape, twice).reshape(2, -1, 3, 3)
    if recipe.cutout:
        count, edge = recipe.cutout
        rows = rows_of(words_of(seed, number, Purpose.HOLE, 8 * count), 4)
        holes = [hole_of(row, recipe.shape, edge) for row in rows]
        plan["holes"] = [holes[:count], holes[count:]]
    return plan | {"boxes": [starts.min(0), stops.max(0)], "swaps": swaps}
