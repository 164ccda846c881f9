"""Splits by subject, and the check that no case of val or test was used for pre-training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from train import splits
from train.data.cases import open_index
from train.data.split.make import load_split, make_split
from train.data.split.parts import PARTS, Split, current_part
from train.data.subjects.names import short_name
from train.pretrain import RestorationConfig, introduce, prepare, read_settings

NAMES = [f"sub-{subject:02}_ses-{session}.nii.gz" for subject in range(10) for session in (1, 2)]


SMALL = {"crop": (16, 16, 16), "patch": (2, 4), "filters": 2, "device": "cpu", "cache": ("host:1GB",)}
"""Settings of a run that is prepared quickly."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=6, shape=(18, 20, 22))
    return folder / "images"


@pytest.fixture
def three():
    return Split(frozenset({"a", "b"}), frozenset({"c"}), frozenset({"d"}))


def named(*names):
    """Return an index with names only."""
    return dali_cr.Index(Path(), tuple(dali_cr.index.cases.Case(name, ()) for name in names))


def test_parts_share_no_subject_and_leave_none_out():
    split = make_split(NAMES, (0.6, 0.2, 0.2), seed=1, subject=r"sub-(\d+)")
    assert [len(getattr(split, part)) for part in PARTS] == [6, 2, 2]
    assert split.train | split.val | split.test == {f"{n:02}" for n in range(10)}
    for subject in range(10):
        assert len({split.part_of(name) for name in NAMES if f"sub-{subject:02}" in name}) == 1


def test_the_seed_decides_and_the_order_of_the_names_does_not():
    one = make_split(NAMES, (0.6, 0.2, 0.2), seed=1, subject=r"sub-\d+")
    assert make_split(NAMES[::-1], (0.6, 0.2, 0.2), seed=1, subject=r"sub-\d+") == one
    assert make_split(NAMES, (0.6, 0.2, 0.2), seed=2, subject=r"sub-\d+") != one


def test_without_a_rule_a_case_is_a_subject_and_its_folder_does_not_matter():
    names = [name.removeprefix("sub-") for name in NAMES]
    split = make_split(names, (0.6, 0.2, 0.2), seed=0)
    assert len(split.train | split.val | split.test) == 20
    assert split.subject is None
    assert split.part_of(f"images/{names[3]}") == split.part_of(names[3])


@pytest.mark.parametrize(
    ("case", "short"),
    [("a/b.nii.gz", "b"), ("b.NII", "b"), ("BraTS_001", "BraTS_001"), ("x/y.hdr.gz", "y"), ("4d.nii#2", "4d#2")],
)
def test_short_name(case, short):
    assert short_name(case) == short


def test_two_cases_of_one_name_ask_for_a_rule():
    names = ["p-01/T1.nii.gz", "p-02/T1.nii.gz", "p-03/T1.nii.gz"]
    with pytest.raises(ValueError, match=r"p-01/T1.nii.gz and p-02/T1.nii.gz are both T1; make .* --subject REGEX"):
        make_split(names, (0.4, 0.3, 0.3), seed=0)
    assert make_split(names, (0.4, 0.3, 0.3), seed=0, subject=r"p-\d+").part_of(names[0]) in PARTS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"train": ["a"], "val": ["b"], "test": ["a"]}, "a is in train and in test"),
        ({"train": ["a"], "val": ["b"]}, "'test' is missing"),
        ({"train": "a", "val": ["b"], "test": ["c"]}, "a list of names"),
        ({"train": ["a"], "val": ["b"], "test": ["c"], "subject": "("}, "regular expression"),
        (["a"], "expected JSON with train, val and test"),
    ],
    ids=str,
)
def test_refuses_a_file_that_is_no_split(tmp_path, content, says):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        load_split(tmp_path / "s.json")


def test_the_hash_is_of_the_content(tmp_path, three):
    (tmp_path / "s.json").write_text(json.dumps({"test": ["d"], "val": ["c"], "train": ["b", "a"]}, indent=7))
    assert load_split(tmp_path / "s.json") == three
    assert load_split(tmp_path / "s.json").hash == three.hash
    assert Split(three.train, three.test, three.val).hash != three.hash


def test_a_file_of_version_0_1_0_is_the_same_split(tmp_path, three):
    content = three.content()
    (tmp_path / "s.json").write_text(json.dumps({"pool": content.pop("train"), **content}))
    assert load_split(tmp_path / "s.json") == three
    assert current_part("pool") == current_part("train") == "train"
    # As version 0.1.0 hashed it: checkpoints have the hash, and its runs can be resumed.
    assert three.hash == "222a36bd5f5d76c5a7dc0eb8d56bc6fa248b7867c491747d15c7ce752af9e67e"


def test_takes_the_cases_of_a_part(three):
    index = named("x/a.nii", "x/c.nii", "x/d.nii", "x/stranger.nii")
    assert [case.name for case in three.take(index, "train").cases] == ["x/a.nii"]
    assert three.part_of("x/stranger.nii") is None
    with pytest.raises(ValueError, match=r"cases of the part val \(c …\), got 2 other cases, the first is a.nii"):
        three.take(named("a.nii", "d.nii"), "val")


def test_a_leak_is_named(three, data):
    here = named("a.nii", "c.nii", "d.nii")
    three.check_leak(named("a.nii", "b.nii").cases, here, Path("run"))
    with pytest.raises(ValueError, match=r"run was trained on other/d.nii, which is in test"):
        three.check_leak(named("a.nii", "other/d.nii").cases, here, Path("run"))
    with pytest.raises(ValueError, match="c.nii, which is in val"):
        three.check_leak(named("c.nii").cases, here, Path("run"))


def test_a_leak_is_found_under_another_name(data, tmp_path):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.25, 0.25), seed=0)
    test = split.take(index, "test").cases[0]
    (tmp_path / "renamed.nii.gz").write_bytes((data / test.volumes[0].path).read_bytes())
    renamed = dali_cr.scan(tmp_path, progress=False)
    with pytest.raises(ValueError, match=f"was trained on {test.name}, which is in test"):
        split.check_leak(renamed.cases, index, Path("run"))


def test_command(data, tmp_path, capsys):
    out = tmp_path / "splits.json"
    assert splits.command_line([str(data), "-o", str(out), "--fractions", "0.5", "0.2", "0.3", "--seed", "4"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    split = load_split(out)
    assert report == {"split": str(out), "train": 3, "val": 1, "test": 2, "hash": split.hash}
    assert split == make_split([path.name for path in data.iterdir()], (0.5, 0.2, 0.3), seed=4)
    assert splits.command_line([str(data), "-o", str(out)]) == 2
    assert "expected a new file" in capsys.readouterr().err


def test_pretraining_understands_its_flags():
    line = "--data a --out r --split s.json --part val --cache host:1GB disk:x --plans p.json --configuration 3d_lowres"
    config = read_settings(line.split())
    assert (config.split, config.part, config.cache) == (Path("s.json"), "val", ("host:1GB", "disk:x"))
    assert (config.plans, config.configuration) == (Path("p.json"), "3d_lowres")


def test_pretraining_takes_the_pool_alone_and_remembers_the_split(data, tmp_path):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.2, 0.3), seed=0)
    (tmp_path / "s.json").write_text(json.dumps(split.content()))
    run = prepare(RestorationConfig(data=(data,), out=tmp_path / "run", split=tmp_path / "s.json", **SMALL))
    run.loader.close()
    assert {short_name(case.name) for case in run.index.cases} == split.train
    assert run.split == {"split": {"hash": split.hash, "part": "train"}}


def test_names_of_other_data_are_refused_before_files_are_read(data, tmp_path, three, monkeypatch, capsys):
    monkeypatch.delattr("dali_cr.index.scan.read_volumes")
    (tmp_path / "s.json").write_text(json.dumps(three.content()))
    for part in PARTS:
        with pytest.raises(ValueError, match=f"cases of the part {part} .*, got 6 other cases, the first is "):
            open_index(RestorationConfig(data=(data,), out=tmp_path / "run", **SMALL), split=three, parts=(part,))
    with pytest.raises(ValueError, match="cases of the part test"):
        prepare(RestorationConfig(data=(data,), out=tmp_path / "run", split=tmp_path / "s.json", part="test", **SMALL))
    (tmp_path / "t.csv").write_text("case,split\nother_1,train\nother_2,val\n")
    for column, message in (("split", "table: expected a row for each case, none of 6 has one"), ("part", "part")):
        words = [str(data), "-o", str(tmp_path / "new.json"), "--table", str(tmp_path / "t.csv"), "--column", column]
        assert splits.command_line(words) == 2
        assert message in capsys.readouterr().err


def write_turned(source, target):
    """Write the image of a file as float32, in another orientation and without compression."""
    image = nib.load(source)
    axes = nib.orientations.axcodes2ornt("PIL")
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), axes))
    nib.save(nib.Nifti1Image(turned.get_fdata(dtype=np.float32), turned.affine, dtype=np.float32), target)


def without_content(index):
    """Return an index as from an earlier version, without hashes of content."""
    old = [replace(case, volumes=tuple(replace(v, content_sha256="") for v in case.volumes)) for case in index.cases]
    return replace(index, cases=tuple(old))


def test_a_leak_is_found_in_another_format(data, tmp_path):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.25, 0.25), seed=0)
    test, train = (split.take(index, part).cases[0] for part in ("test", "train"))
    for case, name in ((train, "a_train.nii"), (test, "b_test.nii")):
        write_turned(data / case.volumes[0].path, tmp_path / name)
    seen = dali_cr.scan(tmp_path, progress=False)
    split.check_leak(seen.cases[:1], index, Path("run"))
    with pytest.raises(ValueError, match=f"was trained on {test.name}, which is in test"):
        split.check_leak(seen.cases, index, Path("run"))
    split.check_leak(without_content(seen).cases, index, Path("run"))  # unknown: nothing tells it


def test_a_leak_is_found_by_the_file_where_the_content_is_unknown(data):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.25, 0.25), seed=0)
    test = split.take(index, "test").cases[0]
    seen = [replace(case, name="other") for case in without_content(index).cases if case.name == test.name]
    with pytest.raises(ValueError, match=f"was trained on {test.name}, which is in test"):
        split.check_leak(seen, index, Path("run"))


def test_copies_in_two_parts_of_a_split_by_hand_are_refused(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    names = sorted(path.name for path in folder.iterdir())
    write_turned(folder / names[0], folder / "copy.nii")
    index = dali_cr.scan(folder, progress=False)
    short = [short_name(name) for name in names]
    split = Split(frozenset(short[:4]), frozenset(short[4:5]), frozenset({short[5], "copy"}))
    with pytest.raises(
        ValueError, match=f"hold the same image in one part, copy.nii is in test and {names[0]} in train"
    ):
        split.take(index, "train")
    assert len(split.take(dali_cr.scan(folder, exclude="copy.nii", progress=False), "train")) == 4


def test_two_channels_of_a_case_are_one_subject_by_default():
    names = [f"imagesTr/ID_{case:03}_{channel:04}.nii.gz" for case in range(5) for channel in range(2)]
    split = make_split(names, (0.6, 0.2, 0.2), seed=0)
    assert sorted(split.train | split.val | split.test) == [f"ID_{case:03}" for case in range(5)]
    assert all(split.part_of(names[2 * case]) == split.part_of(names[2 * case + 1]) for case in range(5))
    assert load_split_of(split) == split


def load_split_of(split):
    """Write a split and return it as read from its file."""
    content = json.loads(json.dumps(split.content()))
    return Split(*(frozenset(content[part]) for part in PARTS), content["subject"])


def test_too_few_subjects_are_refused():
    with pytest.raises(
        ValueError, match=r"at least 3 subjects, got 2 of 4 cases, the first sub-1; give another .* as --subject"
    ):
        make_split([f"sub-{s}_ses-{n}.nii" for s in (1, 2) for n in (1, 2)], (0.6, 0.2, 0.2), seed=0)
    with pytest.raises(ValueError, match=r"at least 3 subjects, got 2 of 2 cases, the first a; add cases"):
        make_split(["a.nii", "b.nii"], (0.6, 0.2, 0.2), seed=0)


def test_the_command_says_what_it_found(data, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, path in enumerate(sorted(data.iterdir())):
        shutil.copy(path, folder / f"p{number // 2}_visit{number % 2}.nii.gz")
    write_turned(folder / "p0_visit0.nii.gz", folder / "x.nii")
    arguments = [str(folder), "--fractions", "0.4", "0.3", "0.3"]
    assert splits.command_line([*arguments, "-o", str(tmp_path / "a.json"), "--subject", r"^\w[^_.]*"]) == 0
    said = capsys.readouterr().out
    assert f"data       4 subjects, 7 cases under {folder}\n" in said
    assert "same content, which a split keeps in one part: p0_visit0.nii.gz = x.nii\n" in said
    assert "warning" not in said
    sizes = [int(line.split()[3]) for line in said.splitlines() if line.split()[0] in PARTS]
    assert sum(sizes) == 7
    warned = []
    for seed in range(4):
        assert splits.command_line([*arguments, "-o", str(tmp_path / f"{seed}.json"), "--seed", str(seed)]) == 0
        said = capsys.readouterr().out
        assert "data       7 subjects, 7 cases" in said
        split = load_split(tmp_path / f"{seed}.json")
        apart = [n for n in range(3) if split.part_of(f"p{n}_visit0") != split.part_of(f"p{n}_visit1")]
        assert ("differ only in a session" in said) == bool(apart)
        warned.append(bool(apart))
    assert any(warned)


def test_pretraining_says_that_nothing_is_held_back(data, tmp_path):
    run = prepare(RestorationConfig(data=(data,), out=tmp_path / "run", **SMALL))
    run.loader.close()
    said = list(introduce(run))
    assert said[0] == f"data       6 subjects, 6 cases under {data}, 1 of them held out for evaluation"
    assert [line for line in said if line.startswith("split")] == [
        "split      none, so there are no test cases; make a split with dali-cr splits and give it as --split"
    ]


def test_pretraining_holds_out_whole_subjects_and_their_copies(data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, path in enumerate(sorted(data.iterdir())):
        shutil.copy(path, folder / f"sub-{number // 2}_ses-{number % 2}.nii.gz")
    write_turned(folder / "sub-0_ses-0.nii.gz", folder / "sub-9_ses-0.nii")
    for seed in range(4):
        out = tmp_path / f"run{seed}"
        run = prepare(RestorationConfig(data=(folder,), out=out, seed=seed, held_out=0.4, **SMALL))
        run.loader.close()
        held_out = {case.name[:5] for case in run.held_out.cases}
        training = {case.name[:5] for case in run.training.cases}
        assert held_out | training == {"sub-0", "sub-1", "sub-2", "sub-9"}
        assert not held_out & training
        assert ("sub-0" in held_out) == ("sub-9" in held_out)
        assert next(introduce(run)).startswith("data       4 subjects, 7 cases under ")
        assert json.loads((out / "config.json").read_text())["held_out_by"] == "subject"


def test_a_run_of_an_earlier_version_keeps_its_held_out_cases(data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, path in enumerate(sorted(data.iterdir())):
        shutil.copy(path, folder / f"sub-{number // 2}_ses-{number % 2}.nii.gz")
    config = RestorationConfig(data=(folder,), out=tmp_path / "run", held_out=0.5, **SMALL)
    prepare(config).loader.close()
    earlier = json.loads((config.out / "config.json").read_text())
    del earlier["held_out_by"]
    run = prepare(config, earlier)
    run.loader.close()
    wanted = run.index.split((0.5, 0.5), config.seed)
    assert [part.fingerprint for part in wanted] == [run.training.fingerprint, run.held_out.fingerprint]
    assert {case.name[:5] for case in run.training.cases} & {case.name[:5] for case in run.held_out.cases}


def test_a_split_by_hand_with_sessions_in_two_parts_is_warned_of(data, tmp_path):
    split = Split(frozenset(sorted(short_name(path.name) for path in data.iterdir())), frozenset({"v"}), frozenset())
    first = min(split.train)
    split = replace(split, test=frozenset({f"{first}_ses-2"}))
    (tmp_path / "s.json").write_text(json.dumps(split.content()))
    run = prepare(RestorationConfig(data=(data,), out=tmp_path / "run", split=tmp_path / "s.json", **SMALL))
    run.loader.close()
    (warning,) = (line for line in introduce(run) if line.startswith("warning"))
    assert f"{first} (train) and {first}_ses-2 (test) differ only in a session" in warning
