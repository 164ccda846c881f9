"""Test the layouts of nnU-Net, BIDS, the Decathlon and others; each file is a case, a problem or ignored."""

import contextlib
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_cr
from dali_cr.__main__ import main
from dali_cr.index.layout.proposal import describe_layout
from dali_cr.index.report import describe
from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.volumes import write_nifti


def make(folder: Path, *names: str, shape: tuple[int, int, int] = (4, 5, 6)) -> Path:
    for number, name in enumerate(names):
        write_nifti(folder / name, np.random.default_rng(number).integers(0, 999, shape))
    return folder


def scan(folder: Path, *arguments: object, **options: object) -> dali_cr.Index:
    return dali_cr.scan(folder, *arguments, progress=False, **options)  # type: ignore[arg-type]


def cases(index: dali_cr.Index) -> dict[str, list[str]]:
    return {case.name: [volume.path for volume in case.volumes] for case in index.cases}


def account(folder: Path, index: dali_cr.Index) -> None:
    """Check that each file of the folder is in one case, has one problem, or is counted as ignored."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    in_cases = [{f for v in case.volumes for f in (v.path, v.data)} for case in index.cases]
    named = [*itertools.chain.from_iterable(in_cases), *(problem.path for problem in index.problems)]
    assert len(named) == len(set(named))
    assert set(named) <= there
    assert len(there) - len(named) == sum(index.ignored.values())
    assert len({case.name for case in index.cases}) == len(index)


def write_dataset(folder: Path, **content: object) -> None:
    (folder / "dataset.json").write_text(json.dumps(content))


# nnU-Net and the Decathlon


def nnunet(folder: Path, number: int = 2, channels: int = 2) -> Path:
    names = [f"MS_{n:03}_{c:04}.nii.gz" for n in range(1, number + 1) for c in range(channels)]
    return make(
        folder, *(f"imagesTr/{name}" for name in names), *(f"labelsTr/MS_{n + 1:03}.nii.gz" for n in range(number))
    )


def test_nnunet_is_recognised_without_a_pattern(tmp_path: Path) -> None:
    nnunet(tmp_path)
    index = scan(tmp_path)
    assert index.layout == "nnunet"
    assert cases(index) == {
        "MS_001": ["imagesTr/MS_001_0000.nii.gz", "imagesTr/MS_001_0001.nii.gz"],
        "MS_002": ["imagesTr/MS_002_0000.nii.gz", "imagesTr/MS_002_0001.nii.gz"],
    }
    assert index.channel_names == ("0000", "0001")
    assert index.ignored == {".nii.gz in labelsTr": 2}
    account(tmp_path, index)
    assert cases(scan(tmp_path / "imagesTr")).keys() == cases(index).keys()


@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_dataset_json_names_channels_in_the_order_of_their_numbers(tmp_path: Path, key: str) -> None:
    nnunet(tmp_path)
    write_dataset(tmp_path, **{key: {"1": "ADC", "0": "T2"}}, labels={"background": 0})
    for folder in (tmp_path, tmp_path / "imagesTr"):
        index = scan(folder)
        assert index.channel_names == ("T2", "ADC")
        assert [volume.path[-11:] for volume in index.cases[0].volumes] == ["0000.nii.gz", "0001.nii.gz"]
    for channels in (["ADC"], ["0001"]):
        chosen = scan(tmp_path, channels=channels)
        assert chosen.channel_names == ("ADC",)
        assert cases(chosen)["MS_001"] == ["imagesTr/MS_001_0001.nii.gz"]
        assert chosen.ignored == {".nii.gz of other channels": 2, ".nii.gz in labelsTr": 2, ".json": 1}
    with pytest.raises(ValueError, match=r"names in dataset.json \(T2, ADC\), got FLAIR"):
        scan(tmp_path, channels=["FLAIR"])


def test_a_channel_that_dataset_json_names_must_be_there(tmp_path: Path) -> None:
    nnunet(tmp_path, channels=1)
    write_dataset(tmp_path, channel_names={"0": "T2", "1": "ADC"}, labels={"background": 0})
    index = scan(tmp_path)
    assert not index.cases
    assert {problem.reason for problem in index.problems} == {
        f"channel ADC is missing or was refused: MS_00{n} has T2" for n in (1, 2)
    }


def test_a_missing_channel_is_a_problem_of_its_case(tmp_path: Path) -> None:
    nnunet(tmp_path, 3)
    (tmp_path / "imagesTr" / "MS_002_0001.nii.gz").unlink()
    index = scan(tmp_path)
    assert list(cases(index)) == ["MS_001", "MS_003"]
    assert [problem.path for problem in index.problems] == ["imagesTr/MS_002_0000.nii.gz"]


def test_the_decathlon_has_a_file_a_case(tmp_path: Path) -> None:
    make(
        tmp_path,
        "imagesTr/la_003.nii.gz",
        "imagesTs/la_001.nii.gz",
        "labelsTr/la_003.nii.gz",
        "imagesTr/._la_003.nii.gz",
    )
    index = scan(tmp_path)
    assert (index.layout, list(cases(index))) == ("nnunet", ["la_003", "imagesTs/la_001"])
    assert index.ignored == {".nii.gz in labelsTr": 1, "hidden": 1}


def test_four_digits_of_cases_are_no_channels(tmp_path: Path) -> None:
    names = [f"amos_{n:04}.nii.gz" for n in range(3)]
    make(tmp_path, *(f"imagesTr/{name}" for name in names), *(f"labelsTr/{name}" for name in names))
    assert list(cases(scan(tmp_path))) == ["amos_0000", "amos_0001", "amos_0002"]  # its label has the same name
    for name in names:
        (tmp_path / "labelsTr" / name).unlink()
    write_dataset(tmp_path, modality={"0": "CT"})
    for number in range(3, 8):
        make(tmp_path, f"imagesTr/amos_{number:04}.nii.gz")
    assert len(scan(tmp_path)) == 8
    flat = make(tmp_path / "flat", *(f"scan_{n:04}.nii" for n in range(4)))
    assert (scan(flat).layout, len(scan(flat))) == ("files", 4)
    assert describe_layout(scan(flat)) == "files: one file per case"


def test_nnunet_files_without_folders_must_be_alike(tmp_path: Path) -> None:
    make(tmp_path, *(f"P_{n}_{c:04}.nii" for n in range(3) for c in range(2)))
    assert list(cases(scan(tmp_path))) == ["P_0", "P_1", "P_2"]
    (tmp_path / "P_1_0001.nii").unlink()
    index = scan(tmp_path)
    assert (index.layout, len(index)) == ("files", 5)
    assert "--layout nnunet" in describe_layout(index)
    asked = scan(tmp_path, layout="nnunet")
    assert (list(cases(asked)), [problem.path for problem in asked.problems]) == (["P_0", "P_2"], ["P_1_0000.nii"])
    one = scan(make(tmp_path / "one", "Q_0000.nii", "Q_0001.nii"), layout="nnunet")
    assert (list(cases(one)), one.channels) == (["Q"], 2)
    with pytest.raises(FileNotFoundError, match="imagesTr/CASE_0000"):
        scan(make(tmp_path / "other", "a.nii"), layout="nnunet")


def test_numbered_files_on_several_grids_are_cases(tmp_path: Path) -> None:
    for number in range(3):
        make(tmp_path, f"a_{number:04}.nii", f"b_{number:04}.nii", shape=(4, 5, 6 + number))
    index = scan(tmp_path)
    assert (index.layout, len(index), index.problems, index.channel_names) == ("files", 6, (), ())
    assert next(iter(cases(index))) == "a_0000.nii"
    assert describe_layout(index) == "files: one file per case"
    account(tmp_path, index)
    asked = scan(tmp_path, layout="nnunet")
    assert (asked.layout, len(asked.problems)) == ("nnunet", 6)


def test_volumes_outside_the_layout_are_not_lost(tmp_path: Path) -> None:
    nnunet(tmp_path)
    make(tmp_path, "unlabelled/a.nii.gz")
    index = scan(tmp_path)
    assert index.layout == "files"
    assert "unlabelled/a.nii.gz" in cases(index)
    assert "--layout nnunet" in describe_layout(index)
    asked = scan(tmp_path, layout="nnunet")
    assert (len(asked), asked.ignored[".nii.gz outside the layout"]) == (2, 1)


def test_several_datasets_of_nnunet_under_one_root(tmp_path: Path) -> None:
    for name in ("Dataset001_A", "Dataset002_B"):
        nnunet(tmp_path / name, 1)
        write_dataset(tmp_path / name, channel_names={"0": "T2", "1": "ADC"}, labels={})
    index = scan(tmp_path)
    assert list(cases(index)) == ["Dataset001_A/MS_001", "Dataset002_B/MS_001"]
    assert index.channel_names == ("T2", "ADC")
    both = scan([tmp_path / "Dataset001_A", tmp_path / "Dataset002_B"])  # type: ignore[arg-type]
    assert list(cases(both)) == list(cases(index))


# BIDS


def bids(folder: Path, suffixes: tuple[str, ...] = ("FLAIR", "T1w"), sessions: tuple[str, ...] = ("1", "2")) -> Path:
    for subject, session in itertools.product(("01", "02"), sessions):
        where = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
        make(folder, *(f"{where}_{suffix}.nii.gz" for suffix in suffixes))
    return folder


def test_bids_is_recognised_and_no_session_is_lost(tmp_path: Path) -> None:
    bids(tmp_path)
    make(tmp_path, "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz")
    index = scan(tmp_path)
    assert (index.layout, index.channel_names) == ("bids", ("FLAIR", "T1w"))
    assert list(cases(index)) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-02_ses-2"]
    assert index.ignored == {".nii.gz in derivatives": 1}
    chosen = scan(tmp_path, layout="bids", channels=["T1w"])
    assert (chosen.channel_names, len(chosen)) == (("T1w",), 4)
    account(tmp_path, chosen)


def test_a_session_may_be_named_by_its_folder_only(tmp_path: Path) -> None:
    make(tmp_path, *(f"sub-1/ses-{s}/anat/sub-1_T1w.nii" for s in "ab"))
    assert list(cases(scan(tmp_path))) == ["sub-1_ses-a", "sub-1_ses-b"]


def test_runs_of_bids_are_cases(tmp_path: Path) -> None:
    make(tmp_path, *(f"sub-1/anat/sub-1_run-{run}_T1w.nii" for run in "12"))
    assert list(cases(scan(tmp_path))) == ["sub-1_run-1", "sub-1_run-2"]


def test_bids_on_several_grids_is_a_file_a_case(tmp_path: Path) -> None:
    bids(tmp_path, ("T1w",), ("1",))
    for subject in ("01", "02"):
        make(tmp_path, f"sub-{subject}/ses-1/anat/sub-{subject}_ses-1_FLAIR.nii.gz", shape=(4, 4, 4))
    index = scan(tmp_path)
    assert list(cases(index)) == [f"sub-{n}_ses-1_{suffix}" for n in ("01", "02") for suffix in ("FLAIR", "T1w")]
    assert (index.channel_names, index.problems) == ((), ())
    assert "bids: one file per case" in describe(index)
    account(tmp_path, index)


def test_other_names_than_those_of_bids_are_not_bids(tmp_path: Path) -> None:
    bids(tmp_path)
    make(tmp_path, "more/x.nii.gz")
    assert scan(tmp_path).layout == "files"
    assert "--layout bids" in describe(scan(tmp_path))
    (tmp_path / "dataset_description.json").write_text("{}")
    index = scan(tmp_path)
    assert (index.layout, index.ignored[".nii.gz outside the layout"]) == ("bids", 1)


# Patterns


def test_a_name_is_divided_where_all_cases_become_alike(tmp_path: Path) -> None:
    make(tmp_path, *(f"MS_{n:03}_{c:04}.nii.gz" for n in (1, 2) for c in (0, 1)))
    index = scan(tmp_path, "{case}_{channel}.nii.gz")
    assert (list(cases(index)), index.channel_names) == (["MS_001", "MS_002"], ("0000", "0001"))
    assert (index.layout, describe_layout(index)) == ("pattern", "")


def test_a_name_is_divided_at_the_channels_that_are_named(tmp_path: Path) -> None:
    make(tmp_path, "a_1_t1_pre.nii", "a_1_t1.nii", "a_2_t1_pre.nii", "a_2_seg.nii")
    index = scan(tmp_path, "{case}_{channel}.nii", channels=["t1", "t1_pre"])
    assert cases(index) == {"a_1": ["a_1_t1.nii", "a_1_t1_pre.nii"]}
    assert index.ignored == {".nii outside the pattern": 1}
    account(tmp_path, index)


def test_names_that_can_be_divided_in_two_ways_are_refused_with_both(tmp_path: Path) -> None:
    make(tmp_path, *(f"{site}_{n}_{c}.nii" for site in "ab" for n in "12" for c in ("t1", "t2")))
    with pytest.raises(ValueError, match=r"got several: 4 cases such as a_1 with t1, t2; 2 cases such as a with 1_t1"):
        scan(tmp_path, "{case}_{channel}.nii")
    assert len(scan(tmp_path, "{case}_{channel}.nii", channels=["t2", "t1"])) == 4


def test_names_that_make_no_cases_alike_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "MS_1_t1.nii", "MS_1_t2.nii", "MS_2_t1.nii")
    with pytest.raises(ValueError, match="got none: "):
        scan(tmp_path, "{case}_{channel}.nii")


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.sampled_from(["a", "b", "c", "1", "2", "3"]), min_size=2, max_size=4, unique=True),
    prefix=st.sampled_from(["", "MS_", "a_b_", "x-y_"]),
    channels=st.lists(st.sampled_from(["t1", "t2", "0000", "pre_t1", "x_y"]), min_size=1, max_size=3, unique=True),
)
def test_a_division_is_right_or_refused(numbers: list[str], prefix: str, channels: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, *(f"{prefix}{n}_{c}.nii" for n in numbers for c in channels))
        wanted = {frozenset(f"{prefix}{n}_{c}.nii" for c in channels) for n in numbers}
        with contextlib.suppress(ValueError):
            index = scan(folder, "{case}_{channel}.nii")
            assert set(map(frozenset, cases(index).values())) == wanted
        named = scan(folder, "{case}_{channel}.nii", channels=channels)
        assert set(map(frozenset, cases(named).values())) == wanted


def test_two_files_of_one_channel_are_refused_and_named(tmp_path: Path) -> None:
    make(tmp_path, "p1/t1.nii", "p1/t1.nii.gz", "p1/t2.nii", "p2/t1.nii", "p2/t2.nii")
    index = scan(tmp_path, ["{case}/{channel}.nii", "{case}/{channel}.nii.gz"])
    assert list(cases(index)) == ["p2"]
    reasons = {problem.path: problem.reason for problem in index.problems}
    assert list(reasons) == ["p1/t1.nii", "p1/t1.nii.gz", "p1/t2.nii"]
    assert reasons["p1/t1.nii"].startswith("two files for one channel: p1/t1.nii.gz is the same channel of p1")
    account(tmp_path, index)


def test_two_cases_with_the_same_name_are_refused_and_named(tmp_path: Path) -> None:
    make(tmp_path, "p1/a.nii", "p1/b.nii", "p2/a.nii")
    index = scan(tmp_path, "{case}/*.nii")
    assert list(cases(index)) == ["p2"]
    assert [problem.reason.partition(";")[0] for problem in index.problems] == [
        "two cases of one name: p1/b.nii is also p1",
        "two cases of one name: p1/a.nii is also p1",
    ]


def test_folders_of_channels_are_proposed_as_a_pattern(tmp_path: Path) -> None:
    for case in ("BraTS_001", "BraTS_002"):
        make(tmp_path, *(f"{case}/{case}_{channel}.nii.gz" for channel in ("t1", "flair")))
        write_nifti(tmp_path / case / f"{case}_seg.nii.gz", np.arange(120).reshape(4, 5, 6) // 60)
    index = scan(tmp_path)
    assert (index.layout, len(index)) == ("files", 4)
    line = describe_layout(index)
    assert line.endswith("--pattern '**/{case}/{case}_{channel}.nii.gz' --channels flair t1")
    again = scan(tmp_path, "**/{case}/{case}_{channel}.nii.gz", channels=["flair", "t1"])
    assert (list(cases(again)), len(again.ignored)) == (["BraTS_001", "BraTS_002"], 1)


# Files that are not data


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    make(tmp_path, "a.nii", "._a.nii", ".git/annex/objects/x/a.nii.gz", "b/.cache/a.nii", "c/.a.nii.gz")
    (tmp_path / ".link").symlink_to(tmp_path)
    index = scan(tmp_path, include="**/.cache/*")
    assert (list(cases(index)), index.ignored) == (["a.nii"], {"hidden": 5})


@pytest.mark.parametrize("pattern", [(), "**/*.nii.gz", "{case}.nii.gz"])
def test_suffixes_in_upper_case(tmp_path: Path, pattern: object) -> None:
    make(tmp_path, "a.nii.gz", "b.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "B.NII.GZ")
    assert [case.volumes[0].path for case in scan(tmp_path, pattern).cases] == ["B.NII.GZ", "a.nii.gz"]


def test_other_files_are_counted_by_kind(tmp_path: Path) -> None:
    make(tmp_path, "a.nii", "pair.nii")
    for number in range(8):
        (tmp_path / f"{number}.dcm").touch()
    for name in ("1.2.840.1", "x.tar.gz", "y.PNG"):
        (tmp_path / name).touch()
    index = scan(tmp_path, exclude="pair*")
    assert index.ignored == {".dcm": 8, ".nii excluded": 1, "without a suffix": 1, ".tar.gz": 1, ".png": 1}
    assert "ignored      8 .dcm, 1 without a suffix" in describe(index)
    index.save(tmp_path / "index.json")
    again = dali_cr.Index.load(tmp_path / "index.json")
    assert (again.ignored, again.layout) == (index.ignored, "files")
    (tmp_path / "a.nii").unlink()
    with pytest.raises(FileNotFoundError, match=r"got 8 \.dcm, .* 1 \.nii excluded"):
        scan(tmp_path, exclude="pair*")


def test_voxels_of_a_pair_are_counted_with_their_header(tmp_path: Path) -> None:
    for name in ("a.hdr", "b.hdr"):
        nib.save(nib.Nifti1Pair(np.arange(120, dtype="<i2").reshape(4, 5, 6), np.eye(4)), tmp_path / name)
    (tmp_path / "b.hdr").write_bytes(b"")
    index = scan(tmp_path)
    assert (list(cases(index)), index.ignored) == (["a.hdr"], {".img": 1})
    account(tmp_path, index)


def test_an_index_of_an_earlier_version_loads(tmp_path: Path) -> None:
    scan(make(tmp_path / "data", "a.nii")).save(tmp_path / "index.json")
    content = json.loads((tmp_path / "index.json").read_text())
    del content["ignored"], content["layout"]
    (tmp_path / "index.json").write_text(json.dumps(content))
    index = dali_cr.Index.load(tmp_path / "index.json")
    assert (len(index), index.ignored, index.layout) == (1, {}, "")


@pytest.mark.parametrize("url", ["https://example.org/data", "s3://bucket/data", Path("https://example.org/data")])
def test_a_url_is_refused_as_one(url: object) -> None:
    with pytest.raises(ValueError, match="a path on this machine, got the URL"):
        dali_cr.scan(url, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "brats"}, "layout: expected one of auto, nnunet, bids, files"),
        ({"layout": "bids", "pattern": "*.nii"}, "expected a pattern or a layout"),
        ({"layout": "files", "channels": ["a"]}, "expected a pattern with {channel} or a layout"),
    ],
    ids=str,
)
def test_options_that_exclude_each_other(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan(make(tmp_path, "a.nii"), **options)


# Combinations

SUFFIX = st.sampled_from([".nii", ".nii.gz", ".NII.GZ", ".NII"])
PREFIX = st.sampled_from(["MS_", "a.b_", "x", "sub-", "A_B_C-", "labels_"])
NOISE = ["a.dcm", "x/README", ".hidden.nii", ".git/annex/o.nii.gz", "._p.nii", "derivatives/sub-9_T1w.nii",
         "x/t.nii.gz", "labelsTr/q.nii", "y.hdr", "y.img", "z.img", "e.nii", "notes.png"]  # fmt: skip


def names_of(layout: str, prefix: str, sessions: int, channels: int, count: int) -> Iterator[str]:
    """Yield the paths of a layout, without the suffix."""
    for number, session, channel in itertools.product(range(count), range(sessions), range(channels)):
        yield {
            "nnunet": f"imagesTr/{prefix}{number}_{session}_{channel:04}",
            "numbered": f"{prefix}{number}_{session}_{channel:04}",
            "decathlon": f"images{'Ts' if session else 'Tr'}/{prefix}{number}_{channel}",
            "bids": f"sub-{number}/ses-{session}/anat/sub-{number}_ses-{session}_{'T1w' if channel else 'FLAIR'}",
            "flat": f"sub-{number}_run-{session}_{'T1w' if channel else 'FLAIR'}",
            "folders": f"{prefix}{number}_{session}/{prefix}{number}_{session}_t{channel}",
            "files": f"{prefix}/{number}/{session}/{channel}",
        }[layout]


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(["nnunet", "numbered", "decathlon", "bids", "flat", "folders", "files"]),
    asked=st.sampled_from(["auto", "auto", "nnunet", "bids", "files", "pattern"]),
    prefix=PREFIX,
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 3)),
    suffix=SUFFIX,
    twins=st.lists(SUFFIX, max_size=2),
    noise=st.lists(st.sampled_from(NOISE), max_size=5, unique=True),
    lost=st.booleans(),
)
def test_each_file_is_a_case_a_problem_or_ignored(layout, asked, prefix, sizes, suffix, twins, noise, lost) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stems = list(names_of(layout, prefix, *sizes))
        paths = {stem + suffix for stem in stems[: -1 if lost and len(stems) > 1 else None]}
        paths |= {stems[0] + other for other in twins}
        make(folder, *sorted(paths))
        for other in noise:
            if other.endswith((".nii", ".nii.gz")) and not other.startswith("e"):
                make(folder, other)
            else:
                (folder / other).parent.mkdir(exist_ok=True, parents=True)
                (folder / other).touch()
        options = {"pattern": ["**/{case}_{channel}.nii", "**/{case}_{channel}.nii.gz"]} if asked == "pattern" else {}
        try:
            index = scan(folder, **options, layout="auto" if asked == "pattern" else asked)
        except (FileNotFoundError, ValueError):
            if asked == "auto":
                raise
            return
        account(folder, index)
        twin = [stems[0] + other for other in {suffix, *twins}]
        if len(twin) > 1 and index.layout in ("nnunet", "bids"):
            assert not any(volume.path in twin for case in index.cases for volume in case.volumes)


# From the command line


def test_layouts_of_phantoms_without_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_phantoms(tmp_path / "made", count=2, shape=(16, 18, 20))
    for number, image in enumerate(images):
        for place in (f"nnunet/imagesTr/P_{number}_0000", f"nnunet/imagesTr/P_{number}_0001",
                      f"msd/imagesTr/P_{number}",
                      f"bids/sub-{number}/anat/sub-{number}_T1w", f"bids/sub-{number}/anat/sub-{number}_T2w",
                      f"brats/P_{number}/P_{number}_t1", f"brats/P_{number}/P_{number}_t2"):  # fmt: skip
            path = tmp_path / f"{place}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.read_bytes())
    layouts = {}
    for name in ("nnunet", "msd", "bids", "brats"):
        assert main(["scan", str(tmp_path / name), "--save", str(tmp_path / f"{name}.json")]) == 0
        layouts[name] = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("layout"))
    assert {name: len(dali_cr.Index.load(tmp_path / f"{name}.json")) for name in layouts} == {
        "nnunet": 2, "msd": 2, "bids": 2, "brats": 4,
    }  # fmt: skip
    assert layouts["nnunet"].split()[1:6] == ["nnunet:", "one", "file", "per", "channel;"]
    assert layouts["bids"].split()[1] == "bids:"
    assert "--channels t1 t2" in layouts["brats"]
    assert main(["scan", str(tmp_path / "nnunet"), "--layout", "files"]) == 0
    assert "cases        4\n" in capsys.readouterr().out
