"""No image or label is both trained on and tested on, under any name and in any format."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from tests.helpers.finetuning import classify, localize, prepared, run_pretraining, segment
from train import finetune
from train.data.split.make import load_split
from train.data.subjects.names import short_name
from train.finetune import Refused, introduce
from train.tasks.transfer import read_init

pytestmark = pytest.mark.usefixtures("one_thread")


def parts_of(run):
    """Return the names of the labelled cases of each part."""
    return {part: {case.name for case in index.cases} for part, index in run.supervised.parts.items()}


def write_as_float(source, target):
    """Write the image of a file as float32, without compression."""
    image = nib.load(source)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine, dtype=np.float32), target)


@pytest.fixture
def folder(data, tmp_path):
    """A copy of the data."""
    return shutil.copytree(data, tmp_path / "data")


@pytest.fixture
def copied(folder):
    """Data with a copy of every image in another format, under another name and with a label."""
    for path in sorted((folder / "images").iterdir()):
        other = f"site{path.name.split('.')[0]}.nii"
        write_as_float(path, folder / "images" / other)
        write_as_float(folder / "labels" / path.name, folder / "labels" / other)
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_split_keeps_copies_together(copied, tmp_path, seed):
    run = prepared(segment(copied, tmp_path / "run", split=None, order_seed=seed))
    parts = parts_of(run)
    assert sum(map(len, parts.values())) == 16
    for names in parts.values():
        short = {short_name(name).removeprefix("site") for name in names}
        assert len(names) == 2 * len(short)
    said = "\n".join(introduce(run))
    assert "copies     8 groups of cases with the same content" in said
    assert f"data       16 subjects, 16 cases under {copied / 'images'}; with labels " in said
    kept = tmp_path / "run" / "splits.json"
    assert f"split      random (--fractions 0.7 0.1 0.2, --order-seed {seed}), saved as {kept}\n" in said


def test_a_given_split_with_copies_in_two_parts_is_refused(copied, tmp_path):
    split = load_split(copied / "splits.json")
    moved = {part: sorted(getattr(split, part)) for part in ("train", "val", "test")}
    moved["test"].append(f"site{moved['train'][0]}")
    (tmp_path / "s.json").write_text(json.dumps(moved))
    with pytest.raises(
        Refused, match=f"the same image in one part, {moved['train'][0]}.nii.gz is in train and site.* in"
    ):
        finetune.main(segment(copied, tmp_path / "run", split=tmp_path / "s.json"))


@pytest.fixture
def channels(folder):
    """Data with two images per label, with numbers too large for channels, so that only the label links them."""
    for path in sorted((folder / "images").iterdir()):
        name = path.name.removesuffix(".nii.gz")
        image = nib.load(path)
        nib.save(nib.Nifti1Image(image.get_fdata() + 1, image.affine), folder / "images" / f"{name}_0031.nii.gz")
        path.rename(folder / "images" / f"{name}_0030.nii.gz")
    return folder


@pytest.mark.parametrize("make", [segment, localize, classify], ids=lambda make: make.__name__)
def test_a_drawn_split_keeps_images_of_one_label_together(channels, tmp_path, make):
    for seed in range(3):
        run = prepared(make(channels, tmp_path / f"run{seed}", split=None, order_seed=seed))
        labels = [{run.supervised.names[name] for name in names} for names in parts_of(run).values()]
        assert [2 * len(names) for names in labels] == [len(names) for names in parts_of(run).values()]
        assert sum(map(len, labels)) == len(set.union(*labels)) == 8


@pytest.mark.parametrize(("make", "what"), [(segment, "label"), (localize, "label"), (classify, "row")])
def test_a_given_split_with_one_label_in_two_parts_is_refused(channels, tmp_path, make, what):
    names = sorted(short_name(path.name) for path in (channels / "images").iterdir())
    content = {"train": names[:9], "val": names[9:12], "test": names[12:]}
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(Refused, match=f"share a {what} in one part, {names[8]}.* is in train and {names[9]}.* in val"):
        finetune.main(make(channels, tmp_path / "run", split=tmp_path / "s.json"))


def test_a_resumed_run_keeps_the_split_that_was_drawn(data, tmp_path):
    config = segment(data, tmp_path / "run", split=None)
    first = prepared(config)
    earlier = json.loads((config.out / "config.json").read_text())
    other = {"train": sorted(first.split.train), "val": sorted(first.split.test), "test": sorted(first.split.val)}
    (config.out / "splits.json").write_text(json.dumps(other))  # as another version would have drawn it
    earlier["fingerprints"]["split"] = load_split(config.out / "splits.json").hash
    again = finetune.prepare(replace(config, resume=True), earlier)
    again.batches.loader.close()
    assert (again.split.val, again.split.test) == (first.split.test, first.split.val)


def test_sessions_in_two_parts_are_warned_of(folder, tmp_path):
    split = load_split(folder / "splits.json")
    names = {min(split.train): "p7_visit1", min(split.test): "p7_visit2"}
    content = split.content()
    for part in ("train", "val", "test"):
        content[part] = [names.get(name, name) for name in content[part]]
    for old, new in names.items():
        for kind in ("images", "labels"):
            (folder / kind / f"{old}.nii.gz").rename(folder / kind / f"{new}.nii.gz")
    (folder / "splits.json").write_text(json.dumps(content))
    said = list(introduce(prepared(segment(folder, tmp_path / "run"))))
    assert f"split      {folder / 'splits.json'}" in said
    (warning,) = (line for line in said if line.startswith("warning"))
    assert "p7_visit1.nii.gz (train) and p7_visit2.nii.gz (test) differ only in a session" in warning


def test_weights_that_saw_a_test_case_in_another_format_are_refused(data, tmp_path):
    (tmp_path / "images").mkdir()
    split = load_split(data / "splits.json")
    for number, name in enumerate([*sorted(split.train), min(split.test)]):
        write_as_float(data / "images" / f"{name}.nii.gz", tmp_path / "images" / f"anonymous{number}.nii")
    init = run_pretraining(tmp_path, tmp_path / "init", split=None)
    config = segment(data, tmp_path / "run", init=str(init))
    with pytest.raises(Refused, match=f"was trained on {min(split.test)}.nii.gz, which is in test"):
        finetune.main(config)
    make_old(init)
    said = "\n".join(introduce(prepared(config)))
    assert f"warning    {init} was made by an earlier version, without hashes of image content" in said


def make_old(run):
    """Rewrite a run's index as from an earlier version, without hashes of content."""
    content = json.loads((run / "index.json").read_text())
    for case in content["cases"]:
        for volume in case["volumes"]:
            del volume["content_sha256"]
    (run / "index.json").write_text(json.dumps({**content, "format": 3}))


def test_weights_with_the_index_of_others_are_refused(data, tmp_path):
    init = run_pretraining(data, tmp_path / "init")
    assert len(read_init(init).cases) == 4
    make_old(init)
    assert len(read_init(init).cases) == 4
    dali_cr.scan(data / "images", progress=False).save(init / "index.json")
    with pytest.raises(
        ValueError, match="expected the index of the cases that .*model.safetensors was trained on, .* of other cases"
    ):
        read_init(init)
