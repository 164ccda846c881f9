"""Volumes in other formats and a cold disk: all contenders get the same voxels, and rows are labelled."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from benchmarks import loader, training
from benchmarks.contenders import ours
from benchmarks.contenders.feed import Feed, Job
from benchmarks.contenders.roster import ROSTER, counterparts
from benchmarks.measure import page_cache
from benchmarks.report import __main__ as report
from benchmarks.report.summary import summary
from benchmarks.workloads.copies import copied_files, find_copies, sizes_of
from benchmarks.workloads.volumes import find_volumes
from benchmarks.workloads.workload import WORKLOADS, Workload, intensity

TINY = replace(WORKLOADS["a"], shape=(32, 28, 24), crop=(16, 16, 16), patch=(4, 5, 6), iterations=5, batch_size=2)


def open_feed(name: str, workload: Workload, folder: Path, count: int = 2) -> Feed:
    """Open a contender as in its own process, without workers."""
    index = find_volumes(workload, count, folder=folder / "data")
    if kind := ROSTER[name].copy:
        index = find_copies(kind, index, workload, folder / "data")
    scratch = folder / name
    scratch.mkdir()
    index.save(scratch / "index.json")
    return ROSTER[name].open(Job(name, workload, scratch / "index.json", 0, (0,), 0.0, "cpu", 0, scratch))


@pytest.mark.parametrize("kind", ["packed", "blosc2"])
def test_copies_are_made_once_and_again_of_a_volume_that_changed(tmp_path: Path, kind: Any) -> None:
    if kind == "blosc2":
        pytest.importorskip("nnunetv2")

    def copies() -> dict[Path, int]:
        found = find_copies(kind, find_volumes(TINY, 2, folder=tmp_path), TINY, tmp_path)
        assert found.fingerprint == find_volumes(TINY, 2, folder=tmp_path).fingerprint
        assert sizes_of({kind: found})[kind] == sum(path.stat().st_size for path in copied_files(kind, found))
        return {path: path.stat().st_mtime_ns for path in copied_files(kind, found)}

    first = copies()
    assert copies() == first
    volumes = tmp_path / "mr-32x28x24"
    (volumes / "phantom_001.nii.gz").unlink()
    other = find_volumes(replace(TINY, modality="ct"), 1, folder=tmp_path)
    (other.root / "phantom_000.nii.gz").rename(volumes / "phantom_001.nii.gz")
    assert len(copies().items() - first.items()) == 1


def test_packed_volumes_make_the_same_pairs(tmp_path: Path) -> None:
    arrays = []
    for name in ("ours-loader", "ours-packed"):
        feed = open_feed(name, TINY, tmp_path)
        arrays.append(next(iter(feed.batches()))[1])
        feed.close()
    assert feed.index.cases[0].volumes[0].packed
    for theirs, own in zip(*arrays, strict=True):
        np.testing.assert_array_equal(theirs, own)


@pytest.mark.parametrize("normalize", ["zscore", ("window", -160.0, 240.0)])
def test_nnunet_reads_the_normalised_volume(tmp_path: Path, normalize: Any) -> None:
    pytest.importorskip("nnunetv2")
    whole = replace(TINY, crop=TINY.shape, normalize=normalize, batch_size=1)
    feed = open_feed("nnunet", whole, tmp_path, count=1)
    _, (input, target) = next(iter(feed.batches()))
    volume = find_volumes(whole, 1, folder=tmp_path / "data")
    scale = intensity(volume.cases[0].volumes[0], normalize)
    voxels = dali_cr.read_volume(volume.root / volume.cases[0].volumes[0].path)
    np.testing.assert_allclose(
        target[0], np.clip((voxels - scale.centre) / scale.width, scale.low, scale.high), atol=1e-5
    )
    assert torch.equal(input.flatten().sort().values, target.flatten().sort().values)
    assert not torch.equal(input, target)
    feed.close()


@pytest.mark.filterwarnings("default")  # MONAI's, of what it would like to have
def test_monai_keeps_its_tensors_in_files(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    feed = open_feed("monai-persistent", TINY, tmp_path)
    batches = feed.batches()
    first = [next(batches)[1][1] for _ in range(2)]
    kept = list(feed.job.scratch.glob("*.pt"))
    assert len(kept) == 2
    assert {tuple(torch.load(path)["target"].shape) for path in kept} == {(1, *TINY.shape[::-1])}
    assert all(target.shape == (2, 1, 16, 16, 16) for target in first)


def test_from_a_cold_disk_files_are_dropped_before_each_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dropped: list[list[Path]] = []
    monkeypatch.setattr(page_cache, "drop", lambda paths: dropped.append(list(paths)))
    feed = open_feed("ours-packed-cold", TINY, tmp_path)
    assert isinstance(feed, ours.ColdDisk)
    batches = feed.batches()
    for count in (1, 2, 3):
        next(batches)
        assert dropped == [copied_files("packed", feed.index)] * count
    feed.close()


def test_a_page_cache_that_keeps_its_pages_leaves_the_cold_rows_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)
    options = loader.parse(["--folder", str(tmp_path), "--workers", "1"])
    index = find_volumes(TINY, 1, folder=tmp_path)
    page_cache.can_drop.cache_clear()
    reasons = {name: loader.missing(ROSTER[name], index, options) for name in ("ours-packed", "ours-packed-cold")}
    page_cache.can_drop.cache_clear()
    assert reasons == {"ours-packed": None, "ours-packed-cold": "the page cache does not drop these files"}


def result(rates: dict[str, float]) -> dict[str, Any]:
    """Return a result of the loader with one row per contender, including contenders that no longer exist."""
    rows = []
    for name, rate in rates.items():
        numbers = {key: {"p20": rate, "median": rate, "p80": rate} for key in ("pairs_per_s", "cpu_s_per_pair")}
        role = "ours" if name.startswith("ours") else "limit" if name == "igzip" else "peer"
        rows.append({"contender": name, "label": name, "role": role, "workers": 2, "summary": numbers, "verdict": None})
    about = {"machine": "m", "cpu": "C", "cores": 2, "gpu": None, "date": "2026-01-01T00:00:00+00:00"}
    head = {"kind": "loader", "device": "cpu", "command": "c", "settings": {"workers": [2]}, "environment": about}
    return {**head, "workload": TINY.to_json(), "rows": rows}


def test_report_compares_peers_with_their_like_and_with_packed_volumes() -> None:
    found = result({"igzip": 80, "ours-loader": 60, "ours-packed": 800, "nnunet": 100, "monai-cache": 40})
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in report.markdown([found]).splitlines()}
    assert rows["| igzip"][2:5] == ["–", "–", "10.0"]
    assert rows["| ours-packed"][1:5] == ["10.00", "–", "–", "–"]
    assert rows["| nnunet"][1:5] == ["1.25", "–", "8.0", "8.0"]
    assert rows["| monai-cache"][1:5] == ["–", "–", "–", "20.0"]
    assert "| 80.0 | 60.0 | – | 800 | nnunet 100 (8.0 ×) |" in summary([found])


def test_earlier_results_are_still_read() -> None:
    assert "ours-processes" not in ROSTER
    found = result({"ours-loader": 47, "ours-host": 48, "ours-processes": 96, "torchio-views": 32})
    assert "| ours-processes | **96.0** (96.0–96.0) |" in report.markdown([found])
    assert "| – | 47.0 | 96.0 | – | torchio-views 32.0 (3.0 ×) |" in summary([found])
    assert counterparts("torchio") == ("ours-loader",)


@pytest.fixture
def small_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the workloads for training by small ones."""
    monkeypatch.setitem(WORKLOADS, "a", TINY)
    monkeypatch.setitem(WORKLOADS, "v", replace(WORKLOADS["v"], shape=(40, 60, 60), crop=(16, 32, 32), batch_size=2))
    edges = ((1, 1), (2, 6), (2, 6))
    images = replace(WORKLOADS["e"], shape=(1, 50, 60), crop=(1, 32, 32), patch=edges, iterations=5, batch_size=2)
    monkeypatch.setitem(WORKLOADS, "e", images)


@pytest.mark.usefixtures("small_workloads")
@pytest.mark.parametrize("arguments", [("a", "--packed"), ("e",), ("v", "--packed")], ids=" ".join)
def test_training_takes_every_kind_of_workload(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    out = tmp_path / "out.json"
    words = ["--volumes", "2", "--folder", str(tmp_path / "data"), "--filters", "2", "--repeats", "1", "--seconds", "0"]
    assert training.main(["--workload", *arguments, *words, "--threads", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    (row,) = found["rows"]
    assert row["summary"]["ratio"]["median"] > 0
    assert found["settings"]["packed"] == ("--packed" in arguments)
    assert found["data"]["voxel_bytes"] == 2 * math.prod(WORKLOADS[arguments[0]].shape) * (
        arguments[0] != "e" and 2 or 1
    )


def test_images_are_not_packed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.parse(["--workload", "e", "--packed"])
    assert "expected a workload of volumes" in capsys.readouterr().err
