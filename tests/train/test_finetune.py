"""Small fine-tuning runs: transfer, results, errors, and identical results after a kill and resume."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from safetensors.torch import load_file

import dali_cr
from tests.helpers import signalled
from tests.helpers.finetuning import SHAPE, WHOLE, classify, localize, prepared, read_csv, run_pretraining, segment
from tests.helpers.runs import run_to_its_end
from train import finetune
from train.data.split.make import load_split
from train.finetune import Refused, first_cases, introduce
from train.tasks.config.segment import Segment
from train.tasks.config.whole import Classify, Localize
from train.tasks.transfer import check_fit, read_init

FILES = {"checkpoint.pt", "config.json", "index.json", "metrics.jsonl", "model.safetensors", "report.json"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def init(data, tmp_path_factory):
    return run_pretraining(data, tmp_path_factory.mktemp("runs") / "init")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize("make", [segment, localize, classify], ids=lambda make: make.__name__)
def test_a_run_leaves_its_files_and_a_report(data, init, out, make):
    config = make(data, out, init=str(init), crop=None if make is segment else WHOLE)
    report = finetune.main(config)
    other = out.with_name("other")
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"of another run")
    with pytest.raises(Refused, match=f"--init was {init}, SHA-256 .*; got {other}, SHA-256"):
        finetune.main(replace(config, init=str(other), resume=True))
    assert finetune.main(replace(config, resume=True)) == report
    names = {path.name for path in out.iterdir() if not path.name.startswith("events")}
    assert names == FILES | {"scores.csv", "splits.json", "preview.png"}
    rows, columns = (1 if make is classify else 3), 2
    with Image.open(out / "preview.png") as picture:
        assert picture.size[0] * SHAPE[1] * rows == picture.size[1] * SHAPE[2] * columns
    assert report == json.loads((out / "report.json").read_text())
    json.dumps(report, allow_nan=False)
    assert (report["task"], report["steps"], report["cases"]) == (make.__name__, 2, 4)
    assert report["scored"] == {"part": "test", "cases": 2}
    split = load_split(data / "splits.json")
    assert {row["case"].split(".")[0] for row in read_csv(out / "scores.csv")} == split.test
    assert load_split(out / "splits.json") == split
    assert torch.load(out / "checkpoint.pt", weights_only=True)["split"]["hash"] == split.hash
    assert json.loads((out / "config.json").read_text())["network"]["split"]["hash"] == split.hash


def test_the_encoder_is_taken_over_and_the_head_is_new(data, init, out):
    run = prepared(segment(data, out, init=str(init)))
    before, after = load_file(init / "model.safetensors"), run.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in run.network.encoder)
    decoder = [name for name in run.network.tensors if name.startswith("upsamples") and name.endswith("conv.weight")]
    assert decoder
    assert not any(torch.equal(before[name], after[name]) for name in decoder)
    said = "\n".join(introduce(run))
    assert set(run.fit.skipped) == set(before) - set(run.network.encoder)
    for name, reason in run.fit.skipped.items():
        assert f"excluded   {name}: {reason}" in said


def test_the_decoder_is_taken_over_when_asked_for(data, init, out):
    run = prepared(segment(data, out, init=str(init), transfer="encoder+decoder"))
    before, after = load_file(init / "model.safetensors"), run.module.state_dict()
    assert set(run.fit.transferred) == set(run.network.tensors) - set(run.network.head)
    assert all(torch.equal(before[name], after[name]) for name in run.fit.transferred)
    assert set(run.fit.skipped) == {"output_block.conv.conv.weight", "output_block.conv.conv.bias"}


@pytest.mark.parametrize("make", [localize, classify], ids=lambda make: make.__name__)
def test_heads_on_the_encoder_have_its_weights(data, init, out, make):
    run = prepared(make(data, out, init=str(init)))
    before, after = load_file(init / "encoder.safetensors"), run.module.state_dict()
    assert all(torch.equal(tensor, after[f"features.{name}"]) for name, tensor in before.items())
    assert {name for name in after if not name.startswith("features.")} >= {"head.weight", "head.bias"}


def test_random_and_pretrained_differ_in_what_is_taken_over_alone(data, init, out):
    both = [prepared(segment(data, out / i, init=i if i == "random" else str(init))) for i in ("random", "init")]
    first, second = (run.module.state_dict() for run in both)
    differ = {name for name in both[0].network.tensors if not torch.equal(first[name], second[name])}
    assert differ == set(both[0].network.encoder)
    batches = [next(run.batches.stream()) for run in both]
    assert torch.equal(batches[0]["image"], batches[1]["image"])
    for run in both:
        run.batches.loader.close()


def test_a_network_keeps_the_levels_of_its_init_whatever_the_crop(data, init, out):
    run = prepared(localize(data, out, init=str(init)))
    assert run.network.about["crop"] == [16, 16, 16]
    with pytest.raises(Refused, match="multiple of 4 along D, for the network's strides and --shrink; got 26"):
        finetune.main(localize(data, out / "other", init=str(init), crop=(26, 24, 24)))


def test_a_smaller_budget_is_part_of_a_larger_one(data, out):
    train = prepared(segment(data, out)).supervised.parts["train"]
    budgets = [{case.name for case in first_cases(train, count, 3).cases} for count in (1, 2, 3, None)]
    assert [len(budget) for budget in budgets] == [1, 2, 3, 4]
    assert budgets[0] < budgets[1] < budgets[2] < budgets[3]
    assert len({min(case.name for case in first_cases(train, 1, seed).cases) for seed in range(12)}) > 1


def test_a_leak_is_refused(data, out):
    seen = run_pretraining(data, out / "all", split=None)
    with pytest.raises(Refused, match=r"all was trained on phantom_\d+.nii.gz, which is in (val|test)"):
        finetune.main(segment(data, out / "run", init=str(seen)))


def test_an_init_of_another_network_is_refused_by_name(data, init, out):
    with pytest.raises(
        Refused, match=r"input_block.conv1.conv.weight: expected shape \(4, 1, 3, 3, 3\), got \(2, 1, 3, 3, 3\)"
    ):
        finetune.main(segment(data, out, init=str(init), filters=4))
    with pytest.raises(Refused, match="expected 'random', the folder of a pre-training run or a file"):
        finetune.main(segment(data, out, init=str(data)))
    finetune.main(segment(data, out / "first"))
    with pytest.raises(Refused, match="expected a run of train.pretrain, .*first is one of train.finetune segment"):
        finetune.main(segment(data, out / "second", init=str(out / "first")))


def test_an_init_that_lacks_a_tensor_is_refused(data, init, out):
    run = prepared(segment(data, out, init=str(init)))
    weights = read_init(init)
    del weights.tensors["bottleneck.norm2.bias"]
    with pytest.raises(ValueError, match=r"bottleneck\.norm2\.bias is missing"):
        check_fit(weights, run.network, "encoder")


def test_an_init_of_other_channels_is_refused(data, init, tmp_path, out):
    (tmp_path / "two").mkdir()
    for path in (data / "images").iterdir():
        image = nib.load(path)
        stacked = np.stack([image.get_fdata(), image.get_fdata()], -1).astype("f4")
        nib.save(nib.Nifti1Image(stacked, image.affine), tmp_path / "two" / path.name)
    with pytest.raises(
        Refused, match="expected 2 channels, as the data have, .* has 1; pre-train on images with the same number"
    ):
        finetune.main(segment(data, out, init=str(init), data=(tmp_path / "two",)))


def change_label(data, tmp_path, change):
    """Copy the labels and change the first of train; return the folder and the file."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in (data / "labels").iterdir():
        (labels / path.name).write_bytes(path.read_bytes())
    changed = labels / f"{min(load_split(data / 'splits.json').train)}.nii.gz"
    image = nib.load(changed)
    values, affine = change(image.get_fdata(), image.affine.copy())
    if values is None:
        changed.unlink()
    else:
        nib.save(nib.Nifti1Image(values.astype("f4"), affine), changed)
    return labels, changed


def shifted(values, affine):
    affine[0, 3] += 5
    return values, affine


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values, affine: (None, affine), "{case}: image without a label. --unmatched leave excludes"),
        (lambda values, affine: (values[1:], affine), "{case}: on another grid: expected"),
        (shifted, "those of {case}, got them up to 5 mm away; resample it to the image's grid"),
        (lambda values, affine: (values * 0, affine), "{case}: empty: expected a labelled voxel; --keep-empty"),
        (lambda values, affine: (values + 0.5, affine), "{case}: expected integers as labels"),
        (
            lambda values, affine: (values * 100, affine),
            "{case}: expected labels from 0 to 255, got 0 to 300; renumber",
        ),
    ],
    ids=["missing", "shape", "affine", "empty", "fractions", "large"],
)
def test_labels_that_do_not_fit_are_refused_by_name(data, tmp_path, out, change, says):
    labels, changed = change_label(data, tmp_path, change)
    with pytest.raises(Refused) as refusal:
        finetune.main(segment(data, out, labels=labels))
    assert says.format(case=changed.name) in str(refusal.value)
    assert not out.exists()


def test_cases_without_a_label_are_left_out_when_asked(data, tmp_path, out):
    labels, changed = change_label(data, tmp_path, lambda values, affine: (None, affine))
    run = prepared(segment(data, out, labels=labels, unmatched="leave"))
    assert len(run.training) == 3
    assert f"excluded   {changed.name}: image without a label" in "\n".join(introduce(run))


def test_a_label_without_an_image_is_refused(data, tmp_path, out):
    labels, changed = change_label(data, tmp_path, lambda values, affine: (values, affine))
    (labels / "stranger.nii.gz").write_bytes(changed.read_bytes())
    with pytest.raises(Refused, match=r"stranger\.nii\.gz: label without an image"):
        finetune.main(segment(data, out, labels=labels))


def test_a_class_that_train_lacks_is_refused(data, tmp_path, out):
    labels, _ = change_label(data, tmp_path, lambda values, affine: (values, affine))
    path = labels / f"{min(load_split(data / 'splits.json').test)}.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image((image.get_fdata() * 7).astype("u1"), image.affine), path)
    with pytest.raises(Refused, match=f"label 7 is in {path.name} of test and in no case of train"):
        finetune.main(segment(data, out, labels=labels))


def test_sides_are_not_mirrored(data, out):
    with pytest.raises(Refused, match="flips: expected no W .*, got W with class right lung"):
        finetune.main(segment(data, out, flips=("W",)))
    prepared(segment(data, out, flips=("D", "H")))


def test_a_crop_must_hold_what_is_looked_at_as_a_whole(data, out):
    with pytest.raises(Refused, match="contains every volume, 20 24 22 or more; got 16 16 16"):
        finetune.main(classify(data, out, crop=(16, 16, 16)))
    run = prepared(localize(data, out, crop=(32, 32, 32), shrink=(2, 2, 2)))
    assert run.network.about["crop"] == [16, 16, 16]


def write_classes(tmp_path, data, lines):
    text = (data / "classes.csv").read_text().splitlines()
    (tmp_path / "classes.csv").write_text("\n".join(lines(text)) + "\n")
    return tmp_path / "classes.csv"


@pytest.mark.parametrize(
    ("lines", "changes", "says"),
    [
        (lambda text: text[:-1], {}, "phantom_007.nii.gz: image without a row"),
        (lambda text: [*text, "x.nii,even,1,1"], {}, "x.nii: row without an image"),
        (lambda text: [*text, text[1]], {}, "phantom_000.nii.gz has two"),
        (lambda text: [*text[:-1], text[-1][:-2]], {}, "expected 4 columns, got 3 in line 9"),
        (lambda text: text[:1], {}, "and rows"),
        (lambda text: text, {"columns": ("age",)}, "expected some of kind, even, third"),
        (lambda text: text, {"columns": ()}, "expected one column with the class, got kind, even, third"),
        (lambda text: text, {"columns": ("kind",), "multilabel": True}, "expected 0 or 1 for each class"),
        (lambda text: [text[0], *(line.replace("odd", "even") for line in text[1:])], {}, "got even alone"),
    ],
    ids=["image", "row", "twice", "short", "nothing", "column", "columns", "flags", "one class"],
)
def test_tables_that_do_not_fit_are_refused(data, tmp_path, out, lines, changes, says):
    with pytest.raises(Refused) as refusal:
        finetune.main(classify(data, out, labels=write_classes(tmp_path, data, lines), **changes))
    assert says in str(refusal.value)


def test_a_class_of_the_table_that_train_lacks_is_refused(data, tmp_path, out):
    test = min(load_split(data / "splits.json").test)
    rare = write_classes(
        tmp_path, data, lambda text: [f"{test}.nii.gz,rare,0,0" if test in line else line for line in text]
    )
    with pytest.raises(Refused, match="expected every class in some case of train, got none with 'rare'"):
        finetune.main(classify(data, out, labels=rare))


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (segment, {"data": ()}),
        (segment, {"steps": 0}),
        (segment, {"cases": 0}),
        (segment, {"lr": 0.0}),
        (segment, {"clip": -1.0}),
        (segment, {"warmup": 2.0}),
        (segment, {"weight_decay": -1.0}),
        (segment, {"ema": 1.0}),
        (segment, {"accumulate": 0}),
        (segment, {"momentum": 0.9}),
        (segment, {"momentum": 1.0, "optimizer": "sgd"}),
        (segment, {"freeze_encoder": 3}),
        (segment, {"encoder_lr_scale": 0.0}),
        (segment, {"encoder_lr_scale": 0.5, "freeze_encoder": 2}),
        (segment, {"foreground": 1.5}),
        (segment, {"transfer": "encoder+decoder"}),
        (segment, {"absent": "unlabelled", "regions": ("1",)}),
        (segment, {"plans": Path("plans.json"), "init": "run"}),
        (localize, {"shift": -1}),
        (localize, {"rotate": 30.0}),
        (localize, {"scale": (0.7, 1.4)}),
        (localize, {"shrink": (0, 1, 1)}),
        (classify, {"transfer": "encoder+decoder", "init": "run"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_refuses_settings_that_make_no_sense(data, out, make, change):
    with pytest.raises(ValueError, match=f"{next(iter(change)).replace('_', '-')}: expected"):
        make(data, out, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": Path("/nowhere")}, "labels: expected a folder of label volumes, /nowhere does not exist"),
        ({"labels": Path(__file__)}, "labels: expected a folder of label volumes, .*py is a file"),
        (
            {"split": Path("/nowhere.json")},
            "split: expected a file written by dali-cr splits, /nowhere.json does not exist",
        ),
        ({"plans": Path("/p.json")}, "plans: expected the nnUNetPlans.json of a preprocessed data set, /p.json does"),
        (
            {"init": "/nowhere"},
            "init: expected 'random', the folder of a pre-training run or a file of weights, /nowhere does not exist",
        ),
    ],
    ids=["labels", "a file", "split", "plans", "init"],
)
def test_what_is_not_there_is_named(data, out, change, says, monkeypatch):
    if str(next(iter(change.values()))).startswith("/nowhere"):  # before files are read
        monkeypatch.delattr("dali_cr.index.scan.read_volumes")
    with pytest.raises(Refused, match=says):
        finetune.main(segment(data, out, **change))
    assert not out.exists()


def test_too_large_a_budget_is_refused(data, out):
    with pytest.raises(Refused, match="at most the 4 labelled cases of train, got 5"):
        finetune.main(segment(data, out, cases=5))


@pytest.fixture(scope="module")
def command(data):
    """The command of a run to kill and resume, without --out."""
    paths = f"--data {data / 'images'} --labels {data / 'labels'} --split {data / 'splits.json'}"
    words = "--crop 16 16 16 --filters 2 --batch-size 1 --steps 40 --lr 3e-2 --flips D H --regions all=1+2+3 2 3"
    words += " --optimizer sgd --momentum 0.9 --schedule poly --ema 0.9 --accumulate 2"
    words += " --freeze-encoder 12 --encoder-lr-scale 0.5"
    every = "--threads 2 --checkpoint-every 6 --log-every 1 --evaluate-every 20 --device cpu"
    return [sys.executable, "-m", "train.finetune", "segment", *paths.split(), *words.split(), *every.split()]


def losses(out):
    """Return the recorded loss of each step."""
    try:
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def measured(out):
    """Return the steps that were evaluated on val."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "val_dice" in line]


def test_a_run_that_was_ended_and_resumed_is_the_same(command, tmp_path):
    whole = run_to_its_end([*command, "--out", tmp_path / "whole"])
    assert whole.returncode == 0, whole.stderr
    expected = losses(tmp_path / "whole")
    assert len(expected) == 40
    assert sum(list(expected.values())[-10:]) < sum(list(expected.values())[:10])
    out = tmp_path / "ended"
    for number, step in ((signal.SIGKILL, 9), (signal.SIGTERM, 20)):
        line = [*command, "--out", str(out), "--resume"]
        ended = run_to_its_end(signalled.command(line, number, step))
        assert ended.returncode == (-9 if number == signal.SIGKILL else 128 + number), ended.stderr
        assert max(losses(out)) == (step if number == signal.SIGKILL else step + 1)
    resumed = run_to_its_end([*command, "--out", out, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert losses(out) == expected
    assert measured(out) == measured(tmp_path / "whole") == [20, 40]
    for name in ("model.safetensors", "scores.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    state, exported = torch.load(out / "checkpoint.pt", weights_only=True), load_file(out / "model.safetensors")
    assert all(torch.equal(state["ema"][name], tensor) for name, tensor in exported.items())
    assert not any(torch.equal(state["network"][name], tensor) for name, tensor in exported.items())


def test_a_finished_run_only_reports_and_more_steps_go_on(data, out, capsys):
    config = segment(data, out)
    report = finetune.main(config)
    assert finetune.main(replace(config, resume=True)) == report
    assert "finished; give more --steps" in capsys.readouterr().out
    assert finetune.main(replace(config, resume=True, steps=3))["steps"] == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cases": 2}, "--cases was not set, got 2"),
        ({"seed": 1}, "--seed was 0, got 1"),
        ({"foreground": 0.1}, "--foreground was 0.5, got 0.1"),
        ({"optimizer": "sgd"}, "--optimizer was adamw, got sgd"),
        ({"ema": 0.9}, "--ema was 0.0, got 0.9"),
        ({"resume": False}, "--resume to continue"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_refuses_to_mix_two_runs(data, out, change, says):
    config = segment(data, out)
    finetune.main(config)
    with pytest.raises(Refused) as refusal:
        finetune.main(replace(config, **{"resume": True, "steps": 9, **change}))
    assert says in str(refusal.value)


def test_refuses_to_resume_with_other_labels_or_another_split(data, tmp_path, out):
    config = segment(data, out)
    finetune.main(config)
    labels, _ = change_label(data, tmp_path, lambda values, affine: (np.where(values == 1, 2, values), affine))
    with pytest.raises(Refused, match="got other labels"):
        finetune.main(replace(config, resume=True, steps=9, labels=labels))
    split = load_split(data / "splits.json").content()
    swapped = {**split, "val": split["test"], "test": split["val"]}
    (tmp_path / "other.json").write_text(json.dumps(swapped))
    with pytest.raises(Refused, match="got other split"):
        finetune.main(replace(config, resume=True, steps=9, split=tmp_path / "other.json"))


def test_refuses_to_resume_another_task(data, init, out):
    finetune.main(segment(data, out))
    with pytest.raises(Refused, match="expected a localize run in .*, a segment run is there"):
        finetune.main(localize(data, out, resume=True))
    with pytest.raises(Refused, match="a pretrain run is there"):
        finetune.main(localize(data, init, resume=True))


def test_a_file_that_breaks_stops_the_run_and_the_steps_before_it_are_kept(data, tmp_path, out):
    own = tmp_path / "own"
    own.mkdir()
    for path in (data / "images").iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    run = finetune.prepare(segment(data, out, data=(own,), steps=50, batch_size=1, accumulate=2))
    broken = run.batches.loader.plan(9).path
    (own / broken).write_bytes(b"")
    with pytest.raises(dali_cr.VolumeError, match=broken):
        finetune.train(run)
    first = next(n for n in range(10) if run.batches.loader.plan(n).path == broken)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert (state["step"], state["loader"]["next"]) == (first // 2, first // 2 * 2)


def test_command_lines_are_understood_as_written():
    line = "--data a --labels l --out r --init runs/first --transfer encoder+decoder --cases 5"
    line += " --flips D H --cache host:1GB"
    tasks = {"segment": Segment, "classify": Classify, "localize": Localize}
    common = {"data": (Path("a"),), "labels": Path("l"), "out": Path("r"), "init": "runs/first", "cases": 5}
    common |= {"flips": ("D", "H"), "cache": ("host:1GB",)}

    def understood(*words):
        return tyro.extras.subcommand_cli_from_dict(tasks, args=list(words), config=(tyro.conf.FlagCreatePairsOff,))

    own = "--regions tumour=1+2 2 --normalize window -160 240 --crop 32 48 32 --keep-empty"
    assert understood("segment", *line.split(), *own.split()) == Segment(
        **common,
        transfer="encoder+decoder",
        regions=("tumour=1+2", "2"),
        normalize=("window", -160.0, 240.0),
        crop=(32, 48, 32),
        keep_empty=True,
    )
    words = line.replace("encoder+decoder", "encoder").split()
    assert understood("classify", *words, "--multilabel", "--columns", "x", "y") == Classify(
        **common, multilabel=True, columns=("x", "y")
    )
    assert understood("localize", *words, "--shrink", "2", "2", "1", "--shift", "0") == Localize(
        **common, shrink=(2, 2, 1), shift=0
    )


def test_a_users_error_is_one_line_and_exit_code_2(tmp_path, capsys):
    words = ["segment", "--data", "/nowhere", "--labels", str(tmp_path), "--out", str(tmp_path / "run")]
    assert finetune.command_line(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("finetune: /nowhere")
    assert captured.err.count("\n") == 1
