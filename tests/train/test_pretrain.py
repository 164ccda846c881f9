"""Small pre-training runs on the CPU: results, errors, and identical results after a kill and resume."""

import errno
import json
import math
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.image
import pytest
import torch
from safetensors.torch import load_file

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers import signalled
from tests.helpers.runs import metrics, run_to_its_end, steps_done, stop_at, timeless
from train import pretrain
from train.methods.evaluation import evaluate
from train.networks.build import build_network
from train.pretrain import Refused, RestorationConfig
from train.run import checkpoint

FILES = {
    "checkpoint.pt",
    "config.json",
    "encoder.safetensors",
    "index.json",
    "metrics.jsonl",
    "model.safetensors",
    "preview.png",
    "report.json",
}
COSTS = ["samples_per_s", "data_wait_share", "samples", "device_hours", "device"]


@dataclass(frozen=True)
class Recipe:
    """A small run of a recipe, and its expected output and metrics."""

    words: str
    steps: int
    batch_size: int
    measured: tuple[int, ...]
    reports: tuple[str, ...]
    says: tuple[str, ...]
    falls: str
    """Name of the number that decreases."""
    to: float
    network: tuple[str, int]
    ends: tuple[tuple[signal.Signals, int], ...]
    """Signals that end a run one after the other, and the step at which they are sent."""


RECIPES = {
    "restoration": Recipe(
        words="--crop 16 16 16 --iterations 6 --patch 2 4 --batch-size 2 --steps 60 --filters 4 --lr 3e-3 "
        "--checkpoint-every 7 --evaluate-every 30 --evaluate-samples 5",
        steps=60,
        batch_size=2,
        measured=(0, 30, 60),
        reports=("restoration_gain", "mse", "psnr"),
        says=("dynunet", "16 × 16 × 16", "6 a crop", "the swaps changed "),
        falls="loss",
        to=0.7,
        network=("dynunet", 4),
        # The first checkpoint is that of step 7.
        ends=((signal.SIGKILL, 3), (signal.SIGINT, 12), (signal.SIGKILL, 23)),
    ),
    "pcrlv2": Recipe(
        words="--recipe pcrlv2 --crop 16 16 16 --sizes 16 16 16 16 20 20 --local-crop 8 8 8 --local-sizes 8 8 8 "
        "--locals 2 --iterations 6 --patch 2 4 --batch-size 3 --steps 16 --filters 2 --lr 0.1 --checkpoint-every 3 "
        "--evaluate-every 8 --evaluate-samples 4",
        steps=16,
        batch_size=3,
        measured=(0, 8, 16),
        reports=("restoration_gain", "r2", "collapse_metric"),
        says=(
            "nsunet",
            "2 of 16 × 16 × 16 voxels, 2 of 8 × 8 × 8",
            "6 a view, edges of 2 4 voxels",
            "--restoration-head code",
        ),
        falls="restoration",
        to=0.8,
        network=("nsunet", 2),
        # The first checkpoint is that of step 3; step 8 measures.
        ends=((signal.SIGTERM, 4), (signal.SIGKILL, 7)),
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Limit the runs of this process to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=5, shape=(20, 24, 22))
    return folder / "images"


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


@pytest.fixture(scope="module")
def command(data, recipe):
    """The command of the run to compare with, without --out."""
    always = ["--data", str(data), "--threads", "2", "--log-every", "1", "--device", "cpu"]
    return [sys.executable, "-m", "train.pretrain", *recipe.words.split(), *always]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The folder and the output of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = run_to_its_end([*command, "--out", out])
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture
def config(data, tmp_path):
    """Settings of a run with a few steps."""
    return RestorationConfig(
        data=(data,),
        out=tmp_path / "run",
        crop=(16, 16, 16),
        iterations=4,
        patch=(2, 4),
        batch_size=2,
        steps=4,
        filters=2,
        evaluate_samples=2,
        device="cpu",
        threads=2,
    )


def test_the_last_line_is_the_report(whole, recipe):
    out, printed = whole
    report = json.loads(printed.splitlines()[-1])
    assert list(report) == ["run", "steps", *recipe.reports, *COSTS]
    assert (report["run"], report["steps"], report["device"]) == (str(out), recipe.steps, "cpu")
    assert report["samples_per_s"] > 0
    assert 0 <= report["data_wait_share"] < 1
    assert report["samples"] == recipe.batch_size * recipe.steps
    assert report["device_hours"] > 0
    assert report == json.loads((out / "report.json").read_text())


def test_it_says_what_it_found_and_chose(whole, data, recipe):
    _, printed = whole
    for text in (f"5 cases under {data}, 1 of them", "channels   1\n", *recipe.says):
        assert text in printed
    cost = r"^cost       \d+\.\d samples/s: \d+\.\d\d hours for the 10 steps left, without evaluation$"
    assert len(re.findall(cost, printed, re.MULTILINE)) == (recipe.steps > 50)


def test_the_folder_holds_every_file(whole):
    out, _ = whole
    names = {path.name for path in out.iterdir()}
    assert names - {name for name in names if name.startswith("events.out.tfevents")} == FILES
    assert len(names) == len(FILES) + 1
    assert matplotlib.image.imread(out / "preview.png").ndim == 3
    assert len(dali_cr.Index.load(out / "index.json")) == 5


def test_config_json_explains_the_run(whole, data):
    kept = json.loads((whole[0] / "config.json").read_text())
    assert (kept["config"]["data"], kept["config"]["patch"], kept["config"]["seed"]) == ([str(data)], [2, 4], 0)
    assert {"python", "torch", "monai", "numpy", "dali-cr"} <= set(kept["versions"])
    assert kept["device"]["type"] == "cpu"
    assert kept["network"]["parameters"] > 0


def test_the_loss_falls_and_what_is_measured_is_written_down(whole, recipe):
    lines = metrics(whole[0])
    losses = [line[recipe.falls] for line in lines if "loss" in line]
    assert len(losses) == recipe.steps
    few = recipe.steps // 5
    assert sum(losses[-few:]) < recipe.to * sum(losses[:few])
    gains = {line["step"]: line["restoration_gain"] for line in lines if "restoration_gain" in line}
    assert tuple(gains) == recipe.measured
    assert gains[0] < gains[recipe.steps] < 1


def test_the_weights_load_into_a_fresh_network(whole, recipe):
    out, (name, filters) = whole[0], recipe.network
    network = build_network(name, 1, (16, 16, 16), filters=filters)
    trained, encoder = load_file(out / "model.safetensors"), load_file(out / "encoder.safetensors")
    assert (set(trained), set(encoder)) == (set(network.tensors), set(network.encoder))
    assert network.module.load_state_dict(encoder, strict=False).unexpected_keys == []
    state = network.module.state_dict()
    assert all(torch.equal(state[name], trained[name]) for name in network.encoder)
    assert not torch.equal(state[network.head[0]], trained[network.head[0]])


def test_a_run_that_was_ended_and_resumed_has_the_same_bytes(whole, recipe, command, tmp_path):
    out = tmp_path / "ended"
    for number, when in recipe.ends:
        end_run(recipe, [*command, "--out", str(out), "--resume"], out, number, when)
    resumed = run_to_its_end([*command, "--out", out, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["steps"] == recipe.steps
    for name in ("model.safetensors", "encoder.safetensors"):
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name
    # A network that is trained beside heads: these too.
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True)["network"] for folder in (out, whole[0]))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert timeless(out) == timeless(whole[0])


def end_run(recipe, command, out, number, when):
    """Start or resume a run, and end it by a signal once a step is recorded."""
    ended = run_to_its_end(signalled.command(command, number, when))
    assert steps_done(out) == (when if number == signal.SIGKILL else when + 1), ended.stderr
    if number == signal.SIGKILL:
        assert ended.returncode == -signal.SIGKILL
    else:
        assert ended.returncode == 128 + number, ended.stderr
        report = json.loads(ended.stdout.splitlines()[-1])
        assert list(report) == ["run", "steps", *recipe.reports, *COSTS]
        assert report["steps"] == when + 1
        assert report["restoration_gain"] is None
        assert f"stopped by {number.name}" in ended.stderr


def test_stopped_at_a_step_that_measures_it_is_measured_at_the_resume(config, monkeypatch):
    config = replace(config, evaluate_every=2, log_every=1)
    stop_at(monkeypatch, 2)
    with pytest.raises(pretrain.Stopped):
        pretrain.main(config)
    monkeypatch.undo()
    assert [line["step"] for line in metrics(config.out) if "restoration_gain" in line] == [0]
    pretrain.main(replace(config, resume=True))
    assert [line["step"] for line in metrics(config.out) if "restoration_gain" in line] == [0, 2, 4]


def test_what_a_run_took_adds_up_over_its_resumes_and_is_not_guessed(config, monkeypatch):
    stop_at(monkeypatch, 2)
    with pytest.raises(pretrain.Stopped) as stopped:
        pretrain.main(config)
    monkeypatch.undo()
    before = stopped.value.report
    assert before["samples"] == 4
    after = pretrain.main(replace(config, resume=True))
    assert after["samples"] == 8
    assert after["device_hours"] > before["device_hours"] > 0
    state = checkpoint.load_checkpoint(config.out / "checkpoint.pt")
    del state["cost"]  # as an earlier version left it
    checkpoint.save_checkpoint(config.out / "checkpoint.pt", state)
    unknown = pretrain.main(replace(config, resume=True, steps=5))
    assert (unknown["samples"], unknown["device_hours"]) == (None, None)


def test_resuming_a_finished_run_only_reports(config, capsys):
    report = pretrain.main(config)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in config.out.iterdir()}
    assert pretrain.main(replace(config, resume=True)) == report
    assert "finished; give more --steps" in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in config.out.iterdir()} == before


def test_a_finished_run_goes_on_with_more_steps(config):
    pretrain.main(config)
    report = pretrain.main(replace(config, resume=True, steps=6, batch_size=1, log_every=1))
    assert report["steps"] == 6
    assert [line["step"] for line in metrics(config.out) if "loss" in line] == [1, 4, 5, 6]
    changes = json.loads((config.out / "config.json").read_text())["changes"]
    assert changes == [{"batch_size": [2, 1], "steps": [4, 6], "log_every": [10, 1]}]


def test_resume_without_a_run_starts_one(config):
    config.out.mkdir()
    (config.out / "config.json.part").write_text("{")
    assert pretrain.main(replace(config, resume=True))["steps"] == 4


def test_the_same_data_may_lie_elsewhere_at_a_resume(config, data, tmp_path):
    pretrain.main(config)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in data.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert pretrain.main(replace(config, resume=True, data=(moved,), steps=5))["steps"] == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"iterations": 5}, "--iterations was 4, got 5"),
        ({"patch": (2, 3), "crop": (16, 16, 24)}, "--crop was 16 16 16, got 16 16 24; --patch was 2 4"),
        ({"normalize": "percentile"}, "--normalize was zscore, got percentile"),
        ({"filters": 4}, "--filters was 2, got 4"),
        ({"part": "val"}, "--part was train, got val"),
        ({"seed": 1, "held_out": 0.5}, "--held-out was 0.1, got 0.5"),
        ({"exclude": ("*_004*",)}, "of 5 cases; got 4, phantom_004.nii.gz is gone"),
        ({"resume": False}, "--resume to continue"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_refuses_to_mix_two_runs(config, change, says):
    pretrain.main(config)
    before = (config.out / "config.json").read_bytes()
    with pytest.raises(Refused) as refusal:
        pretrain.main(replace(config, **{"resume": True, "steps": 9, **change}))
    assert says in str(refusal.value)
    assert (config.out / "config.json").read_bytes() == before


def test_refuses_a_folder_that_holds_no_run(config):
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("")
    for resume in (False, True):
        with pytest.raises(Refused, match=r"thesis\.txt|no config\.json"):
            pretrain.main(replace(config, resume=resume))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": (Path("/nowhere"),)}, "/nowhere"),
        ({"pattern": ("*_000*",)}, "at least two cases"),
        ({"pattern": ("*.mha",)}, "expected files that match"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_refuses_the_impossible_and_leaves_no_folder(config, change, says):
    with pytest.raises(Refused) as refusal:
        pretrain.main(replace(config, **change))
    assert says in str(refusal.value)
    assert not config.out.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"data": ()},
        {"patch": (1, 2, 3, 4)},
        {"steps": 0},
        {"batch_size": 0},
        {"threads": 0},
        {"held_out": 1.0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"clip": -1.0},
        {"warmup": 1.5},
        {"weight_decay": -0.1},
        {"foreground": 2.0},
        {"slices": None, "every": 2},
        {"plans": Path("plans.json"), "network": "sononet64"},
        {"normalize": ("window", 5.0, 5.0)},
    ],
    ids=str,
)
def test_refuses_settings_that_make_no_sense(config, change):
    with pytest.raises(ValueError, match=f"{next(iter(change)).replace('_', '-')}: expected"):
        replace(config, **change)


def test_refuses_a_crop_before_looking_at_the_data(config):
    with pytest.raises(ValueError, match="do not fit into a crop"):
        replace(config, patch=(4, 17))
    with pytest.raises(ValueError, match="iterations: expected at most 32 without overlap, got 33"):
        replace(config, iterations=33, each_patch_once=True)
    with pytest.raises(ValueError, match="50 along W, which stops at 25"):
        replace(config, crop=(16, 16, 50))
    with pytest.raises(ValueError, match="halved twice"):
        replace(config, crop=(8, 8, 8))
    with pytest.raises(ValueError, match="multiples of 16 for sononet64, got 24 along H; use 16 or 32"):
        replace(config, network="sononet64", crop=(16, 24, 16))
    with pytest.raises(ValueError, match="expected one voxel along D with --dims 2, as 1 16 16; got 16 16 16"):
        replace(config, dims=2)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(config):
    with pytest.raises(FloatingPointError, match=r"at step [23], with the samples \[\d, \d\]"):
        pretrain.main(replace(config, lr=1e30, warmup=0.0, checkpoint_every=1))
    assert metrics(config.out)[-1]["step"] < 4
    assert not (config.out / "report.json").exists()
    state = torch.load(config.out / "checkpoint.pt", weights_only=True)
    assert state["step"] == metrics(config.out)[-1]["step"]


def test_a_file_that_breaks_stops_the_run_and_the_steps_before_it_are_kept(config, data, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for path in data.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    run = pretrain.prepare(replace(config, data=(own,), steps=50, batch_size=1))
    broken = run.loader.plan(9).path
    (own / broken).write_bytes(b"")
    first = next(n for n in range(10) if run.loader.plan(n).path == broken)
    with pytest.raises(dali_cr.VolumeError, match=broken):
        pretrain.train(run)
    assert torch.load(config.out / "checkpoint.pt", weights_only=True)["step"] == first


def test_cases_held_out_are_not_trained_on(config):
    for share, count in ((0.01, 1), (0.4, 2), (0.99, 4)):
        run = pretrain.prepare(replace(config, out=config.out / str(share), held_out=share))
        run.loader.close()
        names = [{case.name for case in index.cases} for index in (run.training, run.held_out)]
        assert len(names[1]) == count
        assert len(names[0] | names[1]) == 5
        assert not names[0] & names[1]


def test_no_swaps_have_no_gain(config):
    report = pretrain.main(replace(config, iterations=0, steps=1))
    assert report["restoration_gain"] is None
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("pretext", "says"),
    [
        ("inpaint", r"restoration gain -?\d+\.\d+; erasing changed \d+\.\d% of the voxels"),
        ("autoencode", r"MSE \d\S*, PSNR \d+\.\d\d dB; nothing is changed"),
    ],
)
def test_what_it_is_compared_with_runs_measures_and_draws(config, capsys, pretext, says):
    report = pretrain.main(replace(config, pretext=pretext, steps=2, log_every=1))
    assert re.search(says, capsys.readouterr().out)
    json.dumps(report, allow_nan=False)
    assert (report["restoration_gain"] is None) == (pretext == "autoencode")
    assert report["mse"] > 0
    assert 0 < report["psnr"] < 60
    lines = [line for line in metrics(config.out) if "mse" in line]
    assert [line["step"] for line in lines] == [0, 2]
    assert all((line["changed_share"] == 0) == (pretext == "autoencode") for line in lines)
    assert all(
        (line["identity_loss"] == 0) == (pretext == "autoencode") for line in metrics(config.out) if "lr" in line
    )
    assert matplotlib.image.imread(config.out / "preview.png").ndim == 3


def test_the_pretext_is_part_of_what_a_run_is(config):
    pretrain.main(replace(config, steps=1))
    with pytest.raises(Refused, match="--pretext was swap, got inpaint"):
        pretrain.main(replace(config, steps=2, resume=True, pretext="inpaint"))


def test_noise_and_error_are_measured_by_hand(config):
    """A network that adds a constant to its input has that error on any samples."""

    class Off(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.by = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, image):
            return image + self.by

    run = pretrain.prepare(config)
    run.loader.close()
    with pretrain.build_loader(run.held_out, config, run.method, run.device, 0) as loader:
        batch = next(iter(loader))
    target, before = batch["target"].double(), (batch["input"] - batch["target"]).double()
    with pretrain.build_loader(run.held_out, config, run.method, run.device, 0) as loader:
        numbers = evaluate(Off(), loader, len(target), "swap").numbers
    left = (before + 0.5).square()
    assert numbers["mse"] == pytest.approx(left.mean().item(), rel=1e-6)
    assert numbers["restoration_gain"] == pytest.approx(1 - left.sum().item() / before.square().sum().item(), rel=1e-6)
    peak = (target.max() - target.min()).item()
    assert numbers["psnr"] == pytest.approx(10 * math.log10(peak**2 / left.mean().item()), rel=1e-6)
    assert numbers["changed_share"] == pytest.approx((before != 0).double().mean().item())


def test_an_index_saves_the_scan(config, data, tmp_path):
    dali_cr.scan(data, progress=False).save(tmp_path / "index.json")
    run = pretrain.prepare(replace(config, data=(), index=tmp_path / "index.json"))
    run.loader.close()
    assert len(run.index) == 5


def test_every_flag_is_understood_as_written(tmp_path):
    line = (
        "--data a b --out r --resume --pattern {case}/{channel}.nii.gz *.nii --channels t1 t2 --include x --exclude y "
        "--fourth-axis cases --index i.json --held-out 0.2 --crop 32 48 32 --iterations 20 --patch 4 8 --flips D W "
        "--each-patch-once --normalize window -160 240 --foreground 0.5 --network dynunet --filters 8 --batch-size 4 "
        "--steps 400 --lr 1e-3 --warmup 0.1 --weight-decay 0 --clip 2 --seed 3 --device cpu --threads 2 "
        "--on-error skip --deterministic --checkpoint-every 50 --log-every 5 --evaluate-every 25 --evaluate-samples 64"
    )
    config = pretrain.read_settings(line.split())
    assert config == RestorationConfig(
        data=(Path("a"), Path("b")),
        out=Path("r"),
        resume=True,
        pattern=("{case}/{channel}.nii.gz", "*.nii"),
        channels=("t1", "t2"),
        include=("x",),
        exclude=("y",),
        fourth_axis="cases",
        index=Path("i.json"),
        held_out=0.2,
        crop=(32, 48, 32),
        iterations=20,
        patch=(4, 8),
        each_patch_once=True,
        flips=("D", "W"),
        normalize=("window", -160.0, 240.0),
        foreground=0.5,
        filters=8,
        batch_size=4,
        steps=400,
        lr=1e-3,
        warmup=0.1,
        weight_decay=0.0,
        clip=2.0,
        seed=3,
        device="cpu",
        threads=2,
        on_error="skip",
        deterministic=True,
        checkpoint_every=50,
        log_every=5,
        evaluate_every=25,
        evaluate_samples=64,
    )
    assert config.samples().normalize == ("window", -160.0, 240.0)
    assert config.samples().swap == dali_cr.Swap(20, (4, 8), overlap=False)


@pytest.mark.parametrize(
    ("patch", "means"),
    [((3,), 3), ((2, 4), (2, 4)), ((2, 3, 4), (2, 3, 4)), ((1, 2, 3, 4, 5, 6), ((1, 2), (3, 4), (5, 6)))],
    ids=str,
)
def test_a_patch_is_one_two_three_or_six_numbers(config, patch, means):
    assert replace(config, patch=patch).samples().swap.patch == means


def test_a_users_error_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert pretrain.command_line(["--data", "/nowhere", "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pretrain: /nowhere")
    assert captured.err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(config):
    with pytest.raises(Refused, match="finds none; use --device cpu"):
        pretrain.main(replace(config, device="cuda"))


def test_environment_of_cublas_is_set_for_deterministic_runs(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        pretrain.choose_device("cpu", deterministic=True)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        pretrain.choose_device("cpu", deterministic=False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(config, monkeypatch, capsys):
    """The previous checkpoint is kept; the last one must be written."""
    write, full = checkpoint.write_whole, []

    def fill(path, content):
        if full and Path(path).name == "checkpoint.pt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)
        full.extend([True] if Path(path).name == "checkpoint.pt" else [])

    monkeypatch.setattr(checkpoint, "write_whole", fill)
    with pytest.raises(OSError, match="No space left"):
        pretrain.main(replace(config, steps=4, checkpoint_every=1))
    assert capsys.readouterr().out.count("training continues, the previous checkpoint is kept") == 2
    assert checkpoint.load_checkpoint(config.out / "checkpoint.pt")["step"] == 1
    monkeypatch.setattr(checkpoint, "write_whole", write)
    assert pretrain.main(replace(config, steps=4, resume=True))["steps"] == 4


def test_another_version_goes_on_only_if_told_to(config, monkeypatch):
    pretrain.main(config)
    monkeypatch.setattr(dali_cr, "__version__", "99.0")
    with pytest.raises(Refused, match="made the run in .*, got 99.0"):
        pretrain.main(replace(config, resume=True, steps=5))
    assert pretrain.main(replace(config, resume=True, steps=5, any_version=True))["steps"] == 5


def test_touched_files_are_the_same_data_at_a_resume_and_changed_ones_are_not(config, data, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    pretrain.main(replace(config, data=(own,)))
    image = next(own.rglob("*.nii.gz"))
    os.utime(image, (1, 1))
    assert pretrain.main(replace(config, data=(own,), resume=True, steps=5))["steps"] == 5
    shutil.copy(sorted(own.rglob("*.nii.gz"))[1], image)
    with pytest.raises(Refused, match="with other content"):
        pretrain.main(replace(config, data=(own,), resume=True, steps=6))


def test_an_index_of_changed_files_is_refused(config, data, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    dali_cr.scan(own, progress=False).save(tmp_path / "index.json")
    image = sorted(own.rglob("*.nii.gz"))[0]
    os.utime(image, (1, 1))
    with pytest.raises(Refused, match=f"1 of them changed .*{image.name}"):
        pretrain.main(replace(config, data=(), index=tmp_path / "index.json"))


def test_skipped_cases_are_told_at_every_line_and_at_the_end(config, data, tmp_path, capsys):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    run = pretrain.prepare(replace(config, data=(own,), steps=12, log_every=1, on_error="skip"))
    gone = run.training.cases[0].volumes[0].path
    (run.training.root / gone).unlink()
    pretrain.train(run)
    assert f"skipped    {gone}" in capsys.readouterr().out
    lines = [line for line in metrics(config.out) if "lr" in line]
    assert lines[-1]["skipped"] == 1
