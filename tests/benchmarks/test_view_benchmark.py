"""The benchmark of views on tiny volumes: all contenders do the same work. No time is asserted."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader
from benchmarks.contenders.roster import ROSTER
from benchmarks.workloads.volumes import find_volumes
from benchmarks.workloads.workload import WORKLOADS, intensity
from dali_cr.ops.decode import decode_channel
from dali_cr.plan.sample import views_of
from dali_cr.read.normalize import rescale_of
from tests.helpers.recipes import finished

TINY = replace(WORKLOADS["v"], shape=(60, 80, 70), iterations=5, batch_size=2)


def test_only_who_makes_views_takes_part() -> None:
    able = {name for name, contender in ROSTER.items() if "views" in contender.samples}
    assert {"igzip-needed", "ours-reader", "ours-loader", "ours-host", "torchio-views"} <= able
    assert not able & {"plain", "torchio", "monai"}
    assert ROSTER["torchio-views"].samples == ("views",)


def test_everybody_makes_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(WORKLOADS, "v", TINY)
    contenders = ["igzip-needed", "ours-reader", "ours-loader"] + ["torchio-views"] * bool(find_spec("torchio"))
    arguments = ["--workload", "v", "--volumes", "1", "--folder", str(tmp_path / "volumes"), "--workers", "1"]
    arguments += ["--repeats", "1", "--seconds", "0", "--out", str(tmp_path / "v.json"), "--only", *contenders]
    assert loader.main(arguments) == 0
    rows = json.loads((tmp_path / "v.json").read_text())["rows"]
    assert [row["contender"] for row in rows] == contenders
    assert all(row["runs"][0]["pairs"] >= 2 * TINY.batch_size for row in rows)


def test_torchio_cuts_the_boxes_that_we_do(tmp_path: Path) -> None:
    pytest.importorskip("torchio")
    from benchmarks.contenders.torchio_views import Samples

    index = find_volumes(TINY, 1, folder=tmp_path)
    samples = Samples(index, TINY, seed=3)
    still = replace(TINY.recipe, degrees=0, scale=0, flips=())
    source = finished(index, still, 3, 1)
    for number in range(4):
        ours = source.batch(number)["target"][0]
        for v, view in enumerate(views_of(source.planner.plan(number)[0])[:2]):
            theirs = samples._cut(0, view)[0].numpy().transpose(2, 1, 0)
            inner = (slice(1, -1),) * 3  # theirs ends at the box, ours goes on in the volume
            np.testing.assert_allclose(theirs[inner], ours[v, 0][inner], atol=1e-5)
    source.close()
    view, target, local = samples[5]
    assert [tuple(a.shape) for a in (view, target, local)] == [
        (2, 1, 64, 64, 32),
        (2, 1, 64, 64, 32),
        (6, 1, 16, 16, 16),
    ]
    assert 0 <= float(target.min()) <= float(target.max()) <= 1
    np.testing.assert_allclose(view.mean((-1, -2, -3)), 0, atol=1e-5)


def test_percentiles_are_the_loaders(tmp_path: Path) -> None:
    volume = find_volumes(TINY, 1, folder=tmp_path).cases[0].volumes[0]
    scale, ours = intensity(volume, "percentile"), rescale_of(volume, "percentile")
    raw = np.arange(-50, 900).astype(np.int16)
    wanted = np.empty((1, 1, raw.size), np.float32)
    decode_channel(raw[None, None], ours, wanted)
    values = raw * volume.geometry.slope + volume.geometry.intercept
    np.testing.assert_allclose(
        np.clip((values - scale.centre) / scale.width, scale.low, scale.high), wanted[0, 0], atol=1e-6
    )
