"""A study is run in slices of limited time, and moved between machines by small archives."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import dali_cr
from tests.helpers.finetuning import write_data
from tests.train.study.test_study import FILE, Pretended, settings
from train.networks.build import build_network
from train.networks.weights import export_weights, read_weights
from train.study import __main__ as study
from train.study import carry
from train.study.compact import compact_run
from train.study.file import read_study
from train.study.running.jobs import RunQueue, TimeUp
from train.study.running.limit import TimeLimit
from train.study.runs import StudyRun, tuning


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("bodies"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    text = FILE.replace("resamples = 200", "resamples = 200\ncompact = true")
    path.write_text(text.replace('["encoder", "encoder+decoder"]', '["encoder"]'))
    return path


def write_pretrained(folder: Path) -> None:
    network = build_network("dynunet", 1, (16, 16, 16), 2)
    about = {**network.about, "recipe": {}, "step": 1}
    export_weights(folder / "model.safetensors", network.module.state_dict(), network.tensors, about)


class WithWeights(Pretended):
    """Pretended runs whose pre-training has weights; each takes a number of seconds of a pretended clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        super().__init__(monkeypatch)
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def launch(self, queue: RunQueue, run: StudyRun) -> tuple[int, float]:
        ended = super().launch(queue, run)
        if run.phase == "pretrain":
            write_pretrained(queue.out(run))
        self.now += self.seconds
        return ended


def command(file: Path, action: str, archive: Path, **changes: Any) -> carry.CarryConfig:
    return carry.CarryConfig(action=action, file=file, archive=archive, **{"runs": file.parent / "runs", **changes})  # type: ignore[arg-type]


def test_a_slice_ends_at_finished_runs_and_is_continued_elsewhere(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = WithWeights(monkeypatch, seconds=20)
    # Three runs of 20 seconds fill a minute; the fourth is not started.
    with pytest.raises(TimeUp, match="1 of 4 runs are left, tune/kinds/random-0.003 is next"):
        study.main(settings(file, bodies, minutes=1))
    assert len(runs.done) == 3
    slices = 1
    while True:
        slices += 1
        archive, elsewhere = file.parent / f"{slices}.tar", file.parent / f"machine{slices}"
        earlier = file.parent / ("runs" if slices == 2 else f"machine{slices - 1}")
        found = carry.pack(command(file, "pack", archive, runs=earlier))
        assert found["runs"] == len(runs.done)
        carry.unpack(command(file, "unpack", archive, runs=elsewhere))
        try:
            out = study.main(settings(file, bodies, minutes=6, runs=elsewhere))
            break
        except TimeUp:
            assert archive.stat().st_size < 4e6
    assert slices > 3
    assert len(runs.done) == len(set(runs.done)) == 58
    with tarfile.open(archive) as packed:
        names = packed.getnames()
    assert [name for name in names if name.endswith(".safetensors")] == [
        f"pretrain/bodies/swap-p{seed}/model.safetensors" for seed in (0, 1)
    ]
    monkeypatch.undo()
    WithWeights(monkeypatch)
    whole = study.main(settings(file, bodies, runs=file.parent / "whole", results=file.parent / "other"))
    one, other = (json.loads((folder / "summary.json").read_text()) for folder in (out, whole))
    assert one["effects"] == other["effects"]
    assert one["scores"] == other["scores"]


def end_when_there_is(monkeypatch: pytest.MonkeyPatch, folder: Path, pattern: str) -> None:
    """Make a study's time limit end when a file exists, whatever the machine's speed."""

    class Limit(TimeLimit):
        @property
        def is_over(self) -> bool:
            return any(folder.glob(pattern))

    monkeypatch.setattr(study, "TimeLimit", Limit)


def test_a_run_in_progress_at_the_end_is_stopped_and_left(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RunQueue, "command", lambda self, run: ["sleep", "60"])
    line = [str(file), "--data", f"bodies={bodies}", "--device", "cpu", "--minutes", "9"]
    line += ["--runs", str(file.parent / "runs"), "--results", str(file.parent)]
    end_when_there_is(monkeypatch, file.parent, "runs/tiny/tune/*/*.log")
    assert study.command_line(line) == 1
    said = capsys.readouterr().err
    assert "no run reached a checkpoint within the time limit (tune/parts/random-0.001); give more" in said
    saves = "mkdir -p $0; touch $0/checkpoint.pt; exec sleep 60"
    monkeypatch.setattr(RunQueue, "command", lambda self, run: ["sh", "-c", saves, str(self.out(run))])
    end_when_there_is(monkeypatch, file.parent, "runs/tiny/tune/*/*/checkpoint.pt")
    assert study.command_line(line) == 3
    said = capsys.readouterr().err
    assert "time limit of 9 minutes: " in said
    assert "the same command continues, 1 of them from checkpoints, which study.carry does not pack" in said
    with pytest.raises(ValueError, match="minutes: expected a number above 0, got 0"):
        settings(file, bodies, minutes=0)


class Resumed(WithWeights):
    """Pretended runs of 70 seconds that are stopped at the deadline and continue from their checkpoints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.taken: dict[str, float] = {}

    def launch(self, queue: RunQueue, run: StudyRun) -> tuple[int, float]:
        left, rest = queue.limit.deadline - self.now, 70 - self.taken.get(run.name, 0.0)
        self.now += min(left, rest) + 0.1
        if left >= rest:
            return super().launch(queue, run)
        self.taken[run.name] = 70 - rest + left
        queue.out(run).mkdir(parents=True, exist_ok=True)
        (queue.out(run) / "checkpoint.pt").write_text(str(left))
        os.utime(queue.out(run) / "checkpoint.pt", (self.now, self.now))
        queue._late = True
        queue._processes.stop()
        return 143, 0.0


def test_a_run_longer_than_the_time_limit_is_continued_until_it_is_finished(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Resumed(monkeypatch)
    for _ in range(4):
        with pytest.raises(TimeUp, match="runs are left"):
            study.main(settings(file, bodies, minutes=1))
    # In 4 x 60 s, three runs of 70 s finish and a fourth starts.
    assert len(runs.done) == 3
    assert sorted(map(round, runs.taken.values())) == [30, 40, 50, 60]


def test_a_run_is_left_only_if_a_later_call_has_more_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = TimeLimit(60.0)
    assert limit.admits(59)
    now[0] = 30.0
    assert [limit.admits(seconds) for seconds in (29, 31, 60, 61)] == [True, False, False, True]
    now[0] = 60.0
    assert limit.admits(61) is False
    # The time before the first run, such as that of a scan, is not given to any run by a later call.
    late = TimeLimit(70.0)
    assert late.admits(11)


def test_a_compact_run_has_the_rounded_encoder_alone(tmp_path: Path) -> None:
    write_pretrained(tmp_path)
    before, about = read_weights(tmp_path / "model.safetensors")
    compact_run(tmp_path)
    after, told = read_weights(tmp_path / "model.safetensors")
    assert set(after) == set(build_network("dynunet", 1, (16, 16, 16), 2).encoder) < set(before)
    for name, tensor in after.items():
        assert tensor.dtype == torch.float16
        torch.testing.assert_close(tensor, before[name].half(), rtol=0, atol=0)
    assert told == {**about, "compact": "encoder, float16"}
    content = (tmp_path / "model.safetensors").read_bytes()
    compact_run(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == content
    write_pretrained(tmp_path)
    tensors, about = read_weights(tmp_path / "model.safetensors")
    name = next(iter(after))
    tensors[name].view(-1)[0] = 1e6
    export_weights(tmp_path / "model.safetensors", tensors, tensors, about)
    with pytest.raises(ValueError, match=f"{name} exceeds"):
        compact_run(tmp_path)


def test_says_what_cannot_be_carried(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = file.parent / "slice.tar"
    line = [str(file), str(archive), "--runs", str(file.parent / "runs")]
    assert carry.command_line(["pack", *line]) == 2
    assert "expected runs of tiny in" in capsys.readouterr().err
    runs = WithWeights(monkeypatch, seconds=20)
    with pytest.raises(TimeUp):
        study.main(settings(file, bodies, minutes=17))
    assert "pretrain/bodies/swap-p1" in runs.done
    assert carry.command_line(["pack", *line, "--megabytes", "0.001"]) == 2
    assert "expected encoders of at most 0.001 MB, got 0.0" in capsys.readouterr().err
    assert carry.command_line(["pack", *line]) == 0
    assert carry.command_line(["unpack", *line]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    file.write_text(FILE)
    with pytest.raises(ValueError, match=r"protocol.compact: expected true in .*tiny.toml"):
        carry.pack(command(file, "pack", archive))


def write_ended(file: Path, name: str, *, report: bool = True, **note: Any) -> Path:
    """Write a run that has ended, by hand, and return its note."""
    folder = file.parent / "runs" / "tiny" / name
    folder.mkdir(parents=True)
    (file.parent / "runs" / "tiny" / "data").mkdir(exist_ok=True)
    (file.parent / "runs" / "tiny" / "data" / "bodies.split.json").write_text("{}")
    if report:
        write_pretrained(folder)
        (folder / "config.json").write_text("{}")
        (folder / "report.json").write_text("{}")
    path = folder.with_name(f"{folder.name}.json")
    path.write_text(json.dumps(note))
    return path


def test_runs_that_diverged_and_descriptions_of_networks_are_carried(file: Path) -> None:
    # A diverged run without its note would start again, from weights that are not packed.
    write_ended(file, "tune/kinds/random-0.003", report=False, diverged=True)
    write_ended(file, "tune/kinds/random-0.001", report=False, diverged=False)
    write_ended(file, "test/kinds/random-early-1-s1", report=False, diverged=True)
    # Notes of earlier versions have no description of the network, which is read from weights that are not packed.
    write_ended(file, "tune/parts/random-0.001", seconds=1.0)
    archive, elsewhere = file.parent / "slice.tar", file.parent / "elsewhere"
    assert carry.pack(command(file, "pack", archive))["runs"] == 2
    carry.unpack(command(file, "unpack", archive, runs=elsewhere))
    notes = {path.stem: json.loads(path.read_text()) for path in elsewhere.glob("tiny/*/*/*.json")}
    assert notes["random-0.003"] == {"diverged": True}
    assert set(notes) == {"random-0.003", "random-0.001"}
    assert notes["random-0.001"]["seconds"] == 1.0
    assert "bottleneck.conv1.conv.weight" in notes["random-0.001"]["network"]


def test_an_archive_is_whole_and_of_the_study(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ended(file, "tune/parts/random-0.001")
    archive, other = file.parent / "slice.tar", file.parent / "other.toml"
    other.write_bytes(file.read_bytes())
    with monkeypatch.context() as killed:
        killed.setattr(carry.os, "replace", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            carry.pack(command(file, "pack", archive))
    assert not archive.exists()
    carry.pack(command(file, "pack", archive))
    elsewhere = file.parent / "elsewhere"
    with pytest.raises(ValueError, match=r"expected one of other, got .*slice.tar of tiny"):
        carry.unpack(command(other, "unpack", archive, runs=elsewhere))
    with tarfile.open(archive) as packed:
        last = packed.getmembers()[-1]
    whole = archive.read_bytes()
    # Cut between two files, after which an archive still looks complete.
    archive.write_bytes(whole[: last.offset])
    with pytest.raises(ValueError, match=r"expected 4 files in .*slice.tar, got 3; copy it again"):
        carry.unpack(command(file, "unpack", archive, runs=elsewhere))
    assert not elsewhere.exists()


def test_the_rest_of_a_run_is_expected_to_take_less(file: Path) -> None:
    write_ended(file, "tune/parts/random-0.001", seconds=90.0, options={"steps": 2}, network={"a": [1]})
    queue = RunQueue(study=read_study(file), folder=file.parent / "runs" / "tiny", folders={}, limit=TimeLimit(-1e9))
    runs = [run for run in tuning(queue.study) if run.task == "kinds"]
    assert [queue.expected(run) for run in runs] == [90.0] * len(runs)
    started = {**json.loads(json.dumps(runs[0].record)), "seconds": 60.0, "diverged": False}
    queue.note(runs[0]).parent.mkdir()
    queue.note(runs[0]).write_text(json.dumps(started))
    assert queue.expected(runs[0]) == 30.0
    with pytest.raises(TimeUp, match="random-0.003 is next and takes about 1.5 minutes"):
        queue.do_all([run for run in runs if run.arm.init == "random"][1:])
    with pytest.raises(ValueError, match="expected the encoder of pretrain/bodies/swap-p0, which was not packed"):
        queue.do_all(runs)


def test_copies_of_the_images_are_scanned_again_and_other_images_refused(file: Path, tmp_path: Path) -> None:
    bodies = write_data(tmp_path / "first")
    study.open_queue(settings(file, bodies), read_study(file))
    index = tmp_path / "runs" / "tiny" / "data" / "bodies.index.json"
    before = dali_cr.Index.load(index)
    elsewhere = tmp_path / "second"
    shutil.copytree(bodies, elsewhere)
    for path in (elsewhere / "images").iterdir():
        os.utime(path, (1, 1))
    study.open_queue(settings(file, elsewhere), read_study(file))
    after = dali_cr.Index.load(index)
    assert after.root == elsewhere / "images"
    assert after.fingerprint == before.fingerprint
    assert not after.changed()
    one, other = sorted((elsewhere / "images").iterdir())[:2]
    shutil.copy(other, one)
    with pytest.raises(ValueError, match="data: expected the images of the earlier runs, .*bodies.index.json; those"):
        study.open_queue(settings(file, elsewhere), read_study(file))
