"""Test files written by earlier releases: they give the same bits, or an error that names their version.

Each folder was written by the release in its name, with `tests.compat.write`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dali_cr
from tests.compat import write
from tests.helpers.frozen import frozen_index
from tests.helpers.runs import metrics
from train import predict
from train.networks.build import build_network
from train.networks.network import Levels
from train.networks.weights import read_weights
from train.run.checkpoint import load_checkpoint

RELEASES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/index.json"))
BEGINS = ("step", "weights", "optimizer", "batch")
"""Recorded values at the start of a resumed run."""

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Release:
    """Files written by a release, and the data that they were made from."""

    version: str
    folder: Path
    data: Path
    index: dali_cr.Index
    loaders: dict[str, Any]
    runs: dict[str, Any]


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder, data = Path(__file__).with_name(request.param), tmp_path_factory.mktemp("data")
    write.write_volumes(data)
    (data / "index.json").write_bytes((folder / "index.json").read_bytes())
    loaders, runs = (json.loads((folder / name).read_text()) for name in ("loaders.json", "runs.json"))
    index = dali_cr.Index.load(folder / "index.json", data / "images")
    return Release(request.param, folder, data, index, loaders, runs)


def resume(release: Release, name: str, tmp_path: Path, *more: str) -> list[str]:
    """Return the command that resumes a saved run for two more steps."""
    out = tmp_path / "run"
    if not out.exists():
        write.take_out(release.folder / name, out)
    other = ["--any-version"] * (release.version != dali_cr.__version__)
    command = release.runs[name]["command"]
    return write.words_of(command, release.data, out, "--resume", "--steps", "4", *other, *more)


def test_there_is_a_release() -> None:
    assert {"0.1.0", dali_cr.__version__} <= set(RELEASES)


def test_an_index_is_read_as_it_was_saved(release: Release, tmp_path: Path) -> None:
    now = frozen_index(tmp_path, write.FILES)
    assert release.index.changed() == ()
    assert release.index.fingerprint == now.fingerprint
    for one, other in zip(release.index.cases, now.cases, strict=True):
        for was, new in zip(one.volumes, other.volumes, strict=True):
            known = new.statistics
            if was.statistics.image_mean is None:  # of a release before zscore-image
                known = replace(known, image_mean=None, image_deviation=None)
            assert (was.geometry, was.statistics, was.sha256) == (new.geometry, known, new.sha256)
            assert was.foreground.tolist() == new.foreground.tolist()
            assert [flags.tolist() for flags in was.occupied] == [flags.tolist() for flags in new.occupied]


@pytest.mark.parametrize("name", write.RECIPES)
def test_a_loader_resumes_with_the_same_samples(release: Release, name: str) -> None:
    with write.open_loader(release.index, write.RECIPES[name]) as loader:
        loader.load_state_dict(release.loaders[name]["state"])
        assert write.hash_next(loader) == release.loaders[name]["next"]


@pytest.mark.parametrize("name", write.COMMANDS)
def test_a_run_is_resumed_where_it_was(release: Release, name: str, tmp_path: Path) -> None:
    """Compare steps, weights, optimiser and the next batch; results of the next step depend on the machine."""
    run = write.prepare(resume(release, name, tmp_path))
    assert write.describe(run) == {key: release.runs[name][key] for key in BEGINS}


@pytest.mark.parametrize("name", write.COMMANDS)
def test_a_resumed_run_comes_to_its_end(release: Release, name: str, tmp_path: Path) -> None:
    assert write.run_command(resume(release, name, tmp_path)) == 0
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 4
    rates = [line["lr"] for line in metrics(tmp_path / "run") if "lr" in line]
    # The schedule of the first command: the last step of 0.1.0 has no effect, that of later releases has.
    assert (rates[-1] == 0) == (release.version == "0.1.0")
    assert write.hash_tensors(state["network"]) != release.runs[name]["weights"]


@pytest.mark.parametrize("name", write.COMMANDS)
def test_another_release_refuses_a_run_and_names_its_version(
    release: Release, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [word for word in resume(release, name, tmp_path) if word != "--any-version"]
    monkeypatch.setattr(dali_cr, "__version__", "99.0")
    assert write.run_command(command) == 2
    assert f"expected dali-cr {release.version}, which made the run" in capsys.readouterr().err
    run = write.prepare([*command, "--any-version"])
    assert write.describe(run) == {key: release.runs[name][key] for key in BEGINS}


@pytest.mark.parametrize("name", write.COMMANDS)
def test_weights_load_into_the_network_that_they_describe(release: Release, name: str) -> None:
    assert write.hash_files(release.folder / name) == release.runs[name]["files"]
    for path in (release.folder / name).glob("*.safetensors"):
        tensors, about = read_weights(path)
        crop, levels = tuple(about["crop"]), Levels.of(about)
        sizes = (about["network"], about["channels"], crop, about["filters"], about["outputs"], levels, about["dims"])
        network = build_network(*sizes)
        assert set(tensors) == set(network.encoder if path.name == "encoder.safetensors" else network.tensors)
        assert network.module.load_state_dict(tensors, strict=False).unexpected_keys == []
        held = network.module.state_dict()
        assert all(torch.equal(held[key], tensor) for key, tensor in tensors.items())


def test_a_fine_tuned_network_predicts(release: Release, tmp_path: Path) -> None:
    write.take_out(release.folder / "segment", tmp_path / "run")
    data = ["--data", str(release.data / "images"), "--index", str(release.data / "index.json")]
    words = [str(tmp_path / "run"), *data, "--out", str(tmp_path / "masks"), "--device", "cpu"]
    assert predict.command_line(words) == 0
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii")) == sorted(write.FILES)


def test_checkpoints_run_no_code(release: Release, tmp_path: Path) -> None:
    """Check that checkpoints name no module of this project, because modules may be renamed."""
    for name in write.COMMANDS:
        write.take_out(release.folder / name, tmp_path / name)
        content = (tmp_path / name / "checkpoint.pt").read_bytes()
        assert load_checkpoint(tmp_path / name / "checkpoint.pt")["step"] == 2
        assert b"dali_cr." not in content
        assert b"ctrain" not in content


def test_formats_from_elsewhere_are_refused_by_their_number(release: Release, tmp_path: Path) -> None:
    content = json.loads((release.folder / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ValueError, match="got 99"):
        dali_cr.Index.load(tmp_path / "index.json")
    with write.open_loader(release.index, write.RECIPES["restoration"]) as loader:
        state = release.loaders["restoration"]["state"]
        with pytest.raises(ValueError, match="state: expected format 1 to 3, got 99"):
            loader.load_state_dict(state | {"format": 99})


def test_released_folders_are_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    if dali_cr.__version__ not in RELEASES:
        pytest.skip("this version is not released")
    assert write.main() == 2
    assert "is not changed" in capsys.readouterr().err
