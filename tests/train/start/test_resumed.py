"""`--resume` alone uses the settings of the run; a run that ended before its first checkpoint starts again."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.finetuning import classify, localize, segment
from train import finetune, pretrain
from train.methods.pcrlv2.config import Pcrlv2Config
from train.pretrain import RestorationConfig
from train.run.folder.config_file import plain
from train.start.command import end
from train.start.interrupt import quit_on_interrupt
from train.start.resumed import parse, settings_of

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[3]
WORDS = "--crop 16 16 16 --iterations 4 --patch 2 4 --batch-size 2 --filters 2 --steps 2 --evaluate-samples 2 "
WORDS += "--threads 2 --device cpu"


def started(data, out, *more):
    return ["--data", str(data / "images"), "--out", str(out), *WORDS.split(), *more]


def kept(out):
    return json.loads((out / "config.json").read_text())


@pytest.fixture
def run(data, tmp_path):
    """The folder of a pre-training run of two steps."""
    assert pretrain.command_line(started(data, tmp_path / "run", "--normalize", "window", "-5", "700", "--flips")) == 0
    return tmp_path / "run"


def test_resume_alone_goes_on_with_every_setting_of_the_run(run, tmp_path, monkeypatch, capsys):
    before = kept(run)["config"]
    monkeypatch.chdir(tmp_path)
    assert pretrain.command_line(["--resume", "--out", "run"]) == 0
    assert "finished; give more --steps" in capsys.readouterr().out
    assert pretrain.command_line(["--resume", "--out=run", "--steps", "3"]) == 0
    assert kept(run)["config"] == {**before, "steps": 3}
    assert kept(run)["changes"] == [{"steps": [2, 3]}]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 3


def test_only_what_is_typed_is_compared(run, capsys):
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "3", "--iterations", "5"]) == 2
    errors = capsys.readouterr().err
    assert "--iterations was 4, got 5. Give another" in errors
    assert "normalize" not in errors
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "3", "--recipe", "pcrlv2"]) == 2
    assert "--recipe was restoration, got pcrlv2" in capsys.readouterr().err


def test_the_version_is_accepted_once_and_not_for_ever(run, monkeypatch, capsys):
    monkeypatch.setattr("dali_cr.__version__", "99.0")
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "3", "--any-version"]) == 0
    monkeypatch.setattr("dali_cr.__version__", "100.0")
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "4"]) == 2
    assert "got 100.0" in capsys.readouterr().err


def test_fine_tuning_resumes_alone_too(data, tmp_path, monkeypatch, capsys):
    finetune.main(replace(segment(data, tmp_path / "run"), regions=("all=1+2+3", "2"), deterministic=True))
    before = kept(tmp_path / "run")["config"]
    monkeypatch.chdir(tmp_path)
    for number, words in enumerate((["segment"], [], ["segment", "--deterministic"])):
        words = [*words, "--out", "run", "--resume", "--steps", str(3 + number)]
        assert finetune.command_line(words) == 0
        assert kept(tmp_path / "run")["config"] == {**before, "steps": 3 + number}
    capsys.readouterr()
    assert finetune.command_line(["localize", "--out", "run", "--resume"]) == 2
    assert "expected a localize run in run, a segment run is there" in capsys.readouterr().err
    assert pretrain.command_line(["--out", "run", "--resume"]) == 2
    assert "expected a pretrain run in run, a segment run is there" in capsys.readouterr().err


@pytest.mark.parametrize("of", ["labels", "images"])
def test_data_that_changed_are_named(data, tmp_path, of, capsys):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for path in sorted((data / folder).iterdir()):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    config = segment(data, tmp_path / "run", data=(tmp_path / "images",), labels=tmp_path / "labels", split=None)
    finetune.main(config)
    new, old = "new.nii.gz", sorted((tmp_path / of).iterdir())[0]
    (tmp_path / of / new).write_bytes(old.read_bytes())
    assert finetune.command_line(["segment", "--out", str(config.out), "--resume", "--steps", "3"]) == 2
    errors = capsys.readouterr().err
    if of == "images":
        assert f"resume: expected the data of the run in {config.out}, of 8 cases; got 9, {new} is new" in errors
    else:
        assert f"resume: the labels of the run in {config.out} are no longer valid: labels: expected" in errors
        assert f"{new}: label without an image" in errors
    assert errors.count("\n") >= 1
    (tmp_path / of / new).unlink()
    assert finetune.command_line(["segment", "--out", str(config.out), "--resume", "--steps", "3"]) == 0


CONFIGS = [
    RestorationConfig(
        data=(Path("/d"), Path("/e")), out=Path("/o"), patch=(1, 2, 3, 4, 5, 6), normalize=("window", -5.5, 0.1)
    ),
    RestorationConfig(
        out=Path("/o"), index=Path("/i.json"), flips=(), lr=0.1 + 0.2, held_out=1 / 3, cache=("host:1GB",)
    ),
    RestorationConfig(
        data=(Path("/d"),), out=Path("/o"), spacing=(1.0, 0.7, 0.7), deterministic=True, threads=3, pattern=("*",)
    ),
    Pcrlv2Config(data=(Path("/d"),), out=Path("/o"), sizes=((32, 64, 64), (40, 64, 64)), epochs=3.5),
    segment(Path("/d"), Path("/o"), regions=("a=1+2", "b=1"), keep_empty=True, spacing=(1.0, 2.0, 3.0)),
    segment(Path("/d"), Path("/o"), spacing="own", names=None, fractions=(0.5, 0.25, 0.25), crop=None),
    localize(Path("/d"), Path("/o"), shrink=(2, 2, 1), topology=(16, 16, 16)),
    classify(Path("/d"), Path("/o"), multilabel=True, columns=("even", "third"), init="/runs/a"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_setting_is_fixed_unless_it_is_marked(config):
    assert {"crop", "flips", "normalize", "network", "filters", "seed"} <= {*config.fixed}
    assert not {"data", "out", "device", "resume", "steps", "batch_size", "lr", "evaluate_every"} & {*config.fixed}
    views = {"recipe", "locals", "local_crop", "restoration_head", "blur", "comparison_weight"}
    assert views <= {*config.fixed} or not isinstance(config, Pcrlv2Config)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_settings_come_back_from_a_config_json(config):
    about = {"config": json.loads(json.dumps(plain(config)))}
    known = settings_of(type(config), about, config.out)
    assert known == config
    assert parse(type(config), "prog", ["--out", "/o"], known) == config
    typed = parse(type(config), "prog", ["--out", "/o", "--resume", "--log-every", "77"], known)
    assert typed == replace(config, resume=True, log_every=77)


def test_other_epochs_make_other_steps_and_typed_steps_stay():
    earlier = Pcrlv2Config(data=(Path("/d"),), out=Path("/o"), epochs=2.0, steps=100)
    assert replace(earlier, batch_size=4).follow(earlier).steps == 100
    assert replace(earlier, epochs=3.0).follow(earlier).steps is None
    assert replace(earlier, epochs=3.0, steps=120).follow(earlier).steps == 120


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_in_the_first_evaluation_and_the_same_command_again(data, tmp_path, monkeypatch, capsys):
    words = started(data, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.PretrainRun, "measure", interrupt)
        assert pretrain.command_line(words) == 130
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "pretrain: stopped by SIGINT; no checkpoint was written; run the same command to start again"
    )
    assert "config.json" in os.listdir(tmp_path / "run")
    assert pretrain.command_line(words) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [line["step"] for line in map(json.loads, lines)] == [0, 1, 2, 2]


def test_a_run_without_a_checkpoint_is_none_and_other_files_are_not_touched(data, tmp_path, monkeypatch, capsys):
    words = started(data, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.PretrainRun, "measure", interrupt)
        pretrain.command_line(words)
    (tmp_path / "run" / "thesis.txt").write_text("all of it")
    capsys.readouterr()
    assert pretrain.command_line(words) == 2
    assert "new or empty folder" in capsys.readouterr().err
    # Other settings are no change of a run that is none.
    assert pretrain.command_line(["--resume", "--out", str(tmp_path / "run"), "--iterations", "5"]) == 0
    assert (kept(tmp_path / "run")["config"]["iterations"], kept(tmp_path / "run")["changes"]) == (5, [])
    assert (tmp_path / "run" / "thesis.txt").read_text() == "all of it"


def test_a_finished_run_that_lost_its_checkpoint_is_not_begun_anew(run, capsys):
    (run / "checkpoint.pt").unlink()
    weights = (run / "model.safetensors").read_bytes()
    assert pretrain.command_line(["--resume", "--out", str(run)]) == 0
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "5"]) == 2
    assert "checkpoint.pt is missing" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == weights


def test_ctrl_c_after_the_last_step_says_resume(data, tmp_path, monkeypatch, capsys):
    finetune_words = ["segment", "--labels", str(data / "labels"), "--split", str(data / "splits.json")]
    finetune_words += ["--data", str(data / "images"), "--out", str(tmp_path / "run"), "--crop", "16", "16", "16"]
    finetune_words += ["--filters", "2", "--steps", "1", "--batch-size", "1", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr("train.tasks.segment.Segmentation.score", interrupt)
        assert finetune.command_line(finetune_words) == 130
    kept = f"the last checkpoint in {tmp_path / 'run'} is kept"
    assert capsys.readouterr().err.splitlines()[-1] == f"finetune: stopped by SIGINT; {kept}; --resume continues"
    assert finetune.command_line(["--out", str(tmp_path / "run"), "--resume"]) == 0
    assert (tmp_path / "run" / "report.json").exists()


def test_sigterm_before_a_checkpoint_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def work() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
        return {}

    try:
        quit_on_interrupt("pretrain")
        code = end("pretrain", work, tmp_path)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert code == 143
    kept = "no checkpoint was written; run the same command to start again"
    assert capsys.readouterr().err == f"pretrain: stopped by SIGTERM; {kept}\n"


@pytest.mark.parametrize("name", ["pretrain", "finetune", "predict"])
def test_ctrl_c_while_modules_are_imported_is_one_line(name):
    line = [sys.executable, "-m", f"train.{name}", "--help"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        # NumPy is among the first that are imported, after what listens.
        while "numpy" not in maps.read_text() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (
        130,
        f"{name}: stopped by SIGINT; nothing was written; run the same command to start again\n",
    )


def test_resuming_without_a_run_and_without_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.command_line(["--out", str(tmp_path / "none"), "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a run in" in line
    assert "give --data to start a new run" in line


def test_fewer_steps_than_a_run_has_are_refused(run, capsys):
    (run / "report.json").unlink()
    assert pretrain.command_line(["--resume", "--out", str(run), "--steps", "1"]) == 2
    assert f"steps: expected at least 2, the step of the checkpoint in {run}, got 1" in capsys.readouterr().err
