"""Splits: by subject, told by one file, and nothing that was pre-trained on may be tested on."""

import json
from pathlib import Path

import pytest
import tyro

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from train import splits
from train.data.split import PARTS, Split, load_split, make_split, short_name
from train.pretrain import Config, prepare

NAMES = [f"sub-{subject:02}_ses-{session}.nii.gz" for subject in range(10) for session in (1, 2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=6, shape=(18, 20, 22))
    return folder / "images"


@pytest.fixture
def three():
    return Split(frozenset({"a", "b"}), frozenset({"c"}), frozenset({"d"}))


def named(*names):
    """An index of nothing but names."""
    return dali_cr.Index(Path(), tuple(dali_cr.index.cases.Case(name, ()) for name in names))


def test_parts_share_no_subject_and_leave_none_out():
    split = make_split(NAMES, (0.6, 0.2, 0.2), seed=1, subject=r"sub-(\d+)")
    assert [len(getattr(split, part)) for part in PARTS] == [6, 2, 2]
    assert split.pool | split.val | split.test == {f"{n:02}" for n in range(10)}
    for subject in range(10):
        assert len({split.part_of(name) for name in NAMES if f"sub-{subject:02}" in name}) == 1


def test_the_seed_decides_and_the_order_of_the_names_does_not():
    one = make_split(NAMES, (0.6, 0.2, 0.2), seed=1, subject=r"sub-\d+")
    assert make_split(NAMES[::-1], (0.6, 0.2, 0.2), seed=1, subject=r"sub-\d+") == one
    assert make_split(NAMES, (0.6, 0.2, 0.2), seed=2, subject=r"sub-\d+") != one


def test_without_a_rule_a_case_is_a_subject_and_its_folder_does_not_matter():
    split = make_split(NAMES, (0.6, 0.2, 0.2), seed=0)
    assert len(split.pool | split.val | split.test) == 20
    assert split.part_of(f"images/{NAMES[3]}") == split.part_of(NAMES[3])


@pytest.mark.parametrize(
    ("case", "short"),
    [("a/b.nii.gz", "b"), ("b.NII", "b"), ("BraTS_001", "BraTS_001"), ("x/y.hdr.gz", "y"), ("4d.nii#2", "4d#2")],
)
def test_short_name(case, short):
    assert short_name(case) == short


def test_two_cases_of_one_name_ask_for_a_rule():
    names = ["sub-01/T1.nii.gz", "sub-02/T1.nii.gz", "sub-03/T1.nii.gz"]
    with pytest.raises(ValueError, match=r"sub-01/T1.nii.gz and sub-02/T1.nii.gz are both T1; --subject"):
        make_split(names, (0.4, 0.3, 0.3), seed=0)
    assert make_split(names, (0.4, 0.3, 0.3), seed=0, subject=r"sub-\d+").part_of(names[0]) in PARTS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"pool": ["a"], "val": ["b"], "test": ["a"]}, "a is in pool and in test"),
        ({"pool": ["a"], "val": ["b"]}, "'test' is missing"),
        ({"pool": "a", "val": ["b"], "test": ["c"]}, "a list of names"),
        ({"pool": ["a"], "val": ["b"], "test": ["c"], "subject": "("}, "regular expression"),
        (["a"], "wanted JSON with pool, val and test"),
    ],
    ids=str,
)
def test_refuses_a_file_that_is_no_split(tmp_path, content, says):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        load_split(tmp_path / "s.json")


def test_the_hash_is_of_the_content(tmp_path, three):
    (tmp_path / "s.json").write_text(json.dumps({"test": ["d"], "val": ["c"], "pool": ["b", "a"]}, indent=7))
    assert load_split(tmp_path / "s.json") == three
    assert load_split(tmp_path / "s.json").hash == three.hash
    assert Split(three.pool, three.test, three.val).hash != three.hash


def test_takes_the_cases_of_a_part(three):
    index = named("x/a.nii", "x/c.nii", "x/d.nii", "x/stranger.nii")
    assert [case.name for case in three.take(index, "pool").cases] == ["x/a.nii"]
    assert three.part_of("x/stranger.nii") is None
    with pytest.raises(ValueError, match=r"cases of the part val \(c …\), 2 cases came, the first is a.nii"):
        three.take(named("a.nii", "d.nii"), "val")


def test_a_leak_is_named(three, data):
    here = named("a.nii", "c.nii", "d.nii")
    three.refuse_leak(named("a.nii", "b.nii").cases, here, Path("run"))
    with pytest.raises(ValueError, match=r"run was trained on other/d.nii, which is in test"):
        three.refuse_leak(named("a.nii", "other/d.nii").cases, here, Path("run"))
    with pytest.raises(ValueError, match="c.nii, which is in val"):
        three.refuse_leak(named("c.nii").cases, here, Path("run"))


def test_a_leak_is_found_under_another_name(data, tmp_path):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.25, 0.25), seed=0)
    test = split.take(index, "test").cases[0]
    (tmp_path / "renamed.nii.gz").write_bytes((data / test.volumes[0].path).read_bytes())
    renamed = dali_cr.scan(tmp_path, progress=False)
    with pytest.raises(ValueError, match=f"was trained on {test.name}, which is in test"):
        split.refuse_leak(renamed.cases, index, Path("run"))


def test_command(data, tmp_path, capsys):
    out = tmp_path / "splits.json"
    assert splits.command_line([str(data), "-o", str(out), "--fractions", "0.5", "0.2", "0.3", "--seed", "4"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    split = load_split(out)
    assert report == {"split": str(out), "pool": 3, "val": 1, "test": 2, "hash": split.hash}
    assert split == make_split([path.name for path in data.iterdir()], (0.5, 0.2, 0.3), seed=4)
    assert splits.command_line([str(data), "-o", str(out)]) == 2
    assert "wanted a new file" in capsys.readouterr().err


def test_pretraining_understands_its_flags():
    line = "--data a --out r --split s.json --part val --cache host:1GB disk:x --plans p.json --configuration 3d_lowres"
    config = tyro.cli(Config, args=line.split(), config=(tyro.conf.FlagCreatePairsOff,))
    assert (config.split, config.part, config.cache) == (Path("s.json"), "val", ("host:1GB", "disk:x"))
    assert (config.plans, config.configuration) == (Path("p.json"), "3d_lowres")


def test_pretraining_takes_the_pool_alone_and_remembers_the_split(data, tmp_path):
    index = dali_cr.scan(data, progress=False)
    split = make_split([case.name for case in index.cases], (0.5, 0.2, 0.3), seed=0)
    (tmp_path / "s.json").write_text(json.dumps(split.content()))
    small = {"crop": (16, 16, 16), "patch": (2, 4), "filters": 2, "device": "cpu", "cache": ("host:1GB",)}
    run = prepare(Config(data=(data,), out=tmp_path / "run", split=tmp_path / "s.json", **small))
    run.loader.close()
    assert {short_name(case.name) for case in run.index.cases} == split.pool
    assert run.split == {"split": {"hash": split.hash, "part": "pool"}}
