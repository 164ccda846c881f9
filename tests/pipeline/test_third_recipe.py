"""Test a user-defined recipe: a planner and samples, added to one table, work in loaders and on a GPU."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import dali_cr
from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.ops.decode import decode_channel, decode_volume
from dali_cr.ops.records.crops import place_crops
from dali_cr.ops.records.layout import RECORD_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.pipeline import graph as graphs
from dali_cr.pipeline import recipes
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.samples import Arrays, Templates, VoxelLayout
from dali_cr.plan.order.cases import Order
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.plans import Plans
from dali_cr.plan.swaps import SwapSampler
from dali_cr.recipe.checks import Normalize
from dali_cr.recipe.fingerprint import fingerprint
from dali_cr.volume.geometry import Triple
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import INDEXES, contents, finished, loader, outputs_of, outputs_of_whole, raw, samples


@dataclass(frozen=True)
class Shift:
    """Recipe of the central crop, and the same crop plus a number uniform over [0, most)."""

    crop: Triple = (9, 10, 11)
    most: float = 2.0
    normalize: Normalize = "zscore"

    dtype, spacing = "float32", None

    @property
    def boxes(self) -> tuple[Triple, ...]:
        return (self.crop,)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self)


@dataclass(frozen=True, eq=False)
class ShiftPlans(Plans):
    """Plans of a batch; shifts (B,) float32."""

    shifts: npt.NDArray[np.float32]


class ShiftPlanner:
    """Planner, which would be a module in `dali_cr.plan`."""

    def __init__(self, index: Index, recipe: Shift, seed: int, weights: Weights | None = None) -> None:
        self.index, self.recipe, self.seed = index, recipe, seed
        self._order = Order(index, seed, 1, weights=weights)
        self._shapes = np.array([case.shape for case in index.cases], np.int64)
        self._sampler = SwapSampler(seed, recipe.crop, dali_cr.Swap(0))

    @property
    def epoch_length(self) -> int:
        return self._order.epoch_length

    @property
    def weights(self) -> dict[str, float] | None:
        return self._order.weights

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> ShiftPlans:
        n = np.array(numbers, np.int64, ndmin=1)
        cases, attempts = self._order.choose(n, broken)
        origins = (self._shapes[cases] - self.recipe.crop) // 2
        stops = np.minimum(origins + self.recipe.crop, self._shapes[cases])
        words = rng.draw_words(self.seed, n, rng.Purpose.LEVEL, 1)[:, 0]
        return ShiftPlans(
            index=self.index,
            sampler=self._sampler,
            numbers=n,
            cases=cases,
            attempts=attempts,
            boxes=np.stack([np.maximum(origins, 0), stops], 1),
            origins=origins[:, None],
            flips=np.zeros((len(n), 1, 3), np.bool_),
            swaps=self._sampler.draw(n),
            matrices=None,
            offsets=None,
            shifts=np.float32(self.recipe.most * (words >> np.uint64(11)) * 2.0**-53),
        )


class Shifts:
    """Samples, which would be a module in `dali_cr.pipeline`."""

    names: tuple[str, ...] = ("input", "target")
    inputs: tuple[str, ...] = ("records", "shifts")
    arrays = 1

    def __init__(self, planner: Any) -> None:
        self.planner, self.recipe, self._channels = planner, planner.recipe, planner.index.channels
        self.templates = Templates(planner.index, self.recipe.normalize, views=False)

    def outputs(self, count: int) -> tuple[Section, ...]:
        return tuple(Section(name, (count, self._channels, *self.recipe.crop), np.float32) for name in self.names)

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        records = Section("records", (count, self._channels, RECORD_WORDS), np.int64)
        return records, Section("shifts", (count,), np.float32)

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        assert isinstance(plans, ShiftPlans)
        target = out["target"][i, channel]
        decode_channel(raw, rescale, target, first=np.maximum(-plans.origins[i, 0], 0).tolist())
        np.add(target, plans.shifts[i], out=out["input"][i, channel])

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        pass

    def describe(self, plans: Plans, layout: VoxelLayout, out: Arrays) -> None:
        assert isinstance(plans, ShiftPlans)
        records = self.templates.take(plans, layout)
        words = records.view(np.int64).reshape(*records.shape, -1)
        itemsizes, shapes = self.templates.itemsizes[plans.cases], self.templates.shapes[plans.cases]
        where = plans.origins[:, 0], plans.flips[:, 0], self.recipe.crop, shapes
        place_crops(words, layout.firsts, layout.strides, itemsizes, *where)
        out["records"][...], out["shifts"][...] = words, plans.shifts

    def blank(self, out: Arrays) -> None:
        for array in out.values():
            array[...] = 0

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, Any]:
        target = decode_volume(inputs["raw"], inputs["records"], self.recipe.crop, arena=arena)
        return target + inputs["shifts"][:, None, None, None, None], target


RECIPES = {"small": Shift(), "larger than the volumes": Shift((41, 8, 3), 0.5, ("window", 0, 100))}


@pytest.fixture(autouse=True)
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.RECIPES, Shift, (ShiftPlanner, Shifts))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_every_graph_gives_the_same(
    name: str, recipe: Shift, cuda_on_cpu: HostCuda, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    wanted = outputs_of(graphs.build_pipeline(finished(index, recipe, 7, 3), "cpu"), 5)
    assert outputs_of(graphs.build_pipeline(raw(index, recipe, 7, 3), "cpu"), 5) == wanted
    assert outputs_of_whole(raw(index, recipe, 7, 3, whole=True), 5) == wanted
    assert outputs_of(dali_cr.restoration_pipeline(index, recipe, 3, "cpu", 7), 5) == wanted  # type: ignore[arg-type]


def test_a_loader_delivers_it(mixed_index: dali_cr.Index, each_device: str) -> None:
    recipe: Any = Shift()
    with loader(mixed_index, recipe, batch_size=1, threads=1, device="cpu") as alone:
        known = samples(alone, 33)
    cache = () if each_device == "cpu" else "gpu:1GB"
    with loader(mixed_index, recipe, cache=cache) as stream:
        batch = next(iter(stream))
        got, state = contents(batch) | samples(stream, 3), stream.state_dict()
        shifts = stream._planner.plan(batch["sample"].numpy()).shifts  # type: ignore[attr-defined]
        for i, plan in enumerate(map(stream.plan, batch["sample"].tolist())):
            target, input = (batch[name][i].cpu().numpy() for name in ("target", "input"))
            assert batch["case"][i] == mixed_index.cases[plan.case].name
            np.testing.assert_array_equal(input, target + shifts[i])
            whole = dali_cr.read_volume(mixed_index.root / plan.path)
            volume = mixed_index.cases[plan.case].volumes[0].statistics
            scaled = np.where(np.isfinite(whole), np.clip((whole - volume.mean) / volume.deviation, -5, 5), 0)
            cut = tuple(slice(o, o + edge) for o, edge in zip(plan.origin, recipe.crop, strict=True))
            np.testing.assert_allclose(target, scaled[(slice(None), *cut)], atol=2e-6)
    with loader(mixed_index, recipe, batch_size=5) as resumed:
        resumed.load_state_dict(state)
        got |= samples(resumed, 3)
    assert got == {n: known[n] for n in range(31)}


def test_messages_on_recipes_include_it(mixed_index: dali_cr.Index) -> None:
    thin: Any = Shift((1, 8, 9))
    with loader(mixed_index, thin, dims=2) as flat, loader(mixed_index, thin) as thick:
        assert next(iter(flat))["input"].shape == (4, 1, 8, 9)
        state = thick.state_dict()
        assert state["recipe"] == thin.fingerprint
    with pytest.raises(ValueError, match=r"dims: .*, got \(9, 10, 11\)"):
        loader(mixed_index, Shift(), dims=2)
    with pytest.warns(dali_cr.DataWarning, match="crop: 60 × 8 × 9 voxels exceed 11 of 11 volumes"):
        loader(mixed_index, Shift((60, 8, 9))).close()
    with pytest.warns(dali_cr.DataWarning, match="clips 100 % of the foreground"):
        loader(mixed_index, Shift(normalize=("window", 1e5, 2e5))).close()
    with loader(mixed_index, Shift(most=1.0)) as other, pytest.raises(ValueError, match="but recipe differ"):
        other.load_state_dict(state)


def test_other_objects_are_not_recipes(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(TypeError, match="recipe: expected one of Restoration, Views, Shift, got str"):
        graphs.make_samples(mixed_index, "swap", 0)  # type: ignore[arg-type]
