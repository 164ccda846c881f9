"""Subjects found in the names of cases."""

import pytest

from train.data.subjects.lookalikes import find_lookalikes
from train.data.subjects.names import find_subject, group_by_subject
from train.data.subjects.rules import BIDS, NNUNET, count_subjects, default_subject, listed_subject, subjects_of

CHANNELS = [f"imagesTr/MS_{case:03}_{channel:04}.nii.gz" for case in (1, 2, 3) for channel in (0, 1)]
SESSIONS = [f"ds/sub-{s}/ses-{n}/anat/sub-{s}_ses-{n}_T1w.nii.gz" for s in ("01", "A7", "x") for n in (1, 2)]


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (SESSIONS, {"sub-01", "sub-A7", "sub-x"}),
        (["sub-01_T1w.nii", "sub-01_ses-2_T1w.nii.gz#3", "derivatives/sub-02/x.nii"], {"sub-01", "sub-02"}),
        (CHANNELS, {"MS_001", "MS_002", "MS_003"}),
        (CHANNELS[:-1], {"MS_001", "MS_002", "MS_003"}),
        ([*CHANNELS, "imagesTs/MS_004.nii.gz"], {"MS_001", "MS_002", "MS_003", "MS_004"}),
        (["A_0000.NII.GZ", "A_0001.NII.GZ", "B_0000.NII.GZ"], {"A", "B"}),
        ([*SESSIONS, *CHANNELS], {"sub-01", "sub-A7", "sub-x", "MS_001", "MS_002", "MS_003"}),
        ([*SESSIONS[:2], "other/scan.nii.gz"], {"sub-01", "scan"}),
        (["BraTS-A-01-000", "BraTS-A-01-001/x", "BraTS-A-02-000"], {"BraTS-A-01", "BraTS-A-02"}),
    ],
)
def test_bids_and_nnunet_are_grouped(names, subjects):
    assert set(subjects_of(names)) == subjects
    assert count_subjects(names) == f"{len(subjects)} subjects, {len(names)} cases"


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a.nii", "b.nii"],
        ["p1/T1.nii", "p2/T1.nii"],
        [f"patient_{n:04}.nii.gz" for n in range(9)],  # numbers of patients
        ["x_2019.nii", "x_2020.nii", "y_2019.nii"],  # years
        ["a_0001.nii", "b_0002.nii", "c_0003.nii"],  # channels count from 0000
        ["study_sub-01.nii", "resub-01.nii"],
    ],
    ids=str,
)
def test_other_names_are_subjects_of_their_own(names):
    assert default_subject(names) is None
    assert subjects_of(names) == {name: [name] for name in names}


def test_an_expression_of_the_user_is_used():
    assert set(subjects_of(SESSIONS, r"ses-\d")) == {"ses-1", "ses-2"}
    assert count_subjects(["a1", "a2"], "a") == "1 subject, 2 cases"
    assert count_subjects(["a1"]) == "1 subject, 1 case"


def test_a_list_names_its_subjects():
    names = ["ds/A1/ses-1/t1.nii.gz", "ds/A1/ses-2/t1.nii.gz", "ds/B1/x/t1.nii.gz"]
    assert listed_subject("files", names) is None
    assert set(subjects_of(names, listed_subject("nnssl", names))) == {"ds/A1", "ds/B1"}
    assert listed_subject("nnssl", SESSIONS) is None  # these follow BIDS


def test_the_rules_are_the_documented_ones():
    assert find_subject("a/sub-09/ses-1/x.nii.gz", BIDS) == "sub-09"
    assert find_subject("a/case_7_0002.nii.gz", NNUNET) == find_subject("b/case_7.nii.gz", NNUNET) == "case_7"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p1_ses-1", "p1_ses-2"),
        ("sub-01_ses-1_acq-x_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz"),
        ("p1_visit1.nii", "p1_visit2.nii"),
        ("p1/ses-1/T1.nii", "p1/ses-2/T1.nii"),
        ("images/p1_baseline.nii", "images/p1_followup.nii"),
        ("BraTS_001_t1ce.nii.gz", "BraTS_001_flair.nii.gz"),
        ("train/p1_tp1.nii", "test/p1_tp2.nii"),
        ("p1-CT.nii", "p1-PET.nii"),
        ("p1_20190101.nii", "p1_20200630.nii"),
        ("p1_2019-01-01.nii", "p1_2020-06-30.nii"),
        ("P1_t0_0000.nii.gz", "P1_t1_0000.nii.gz"),
        ("P1_M00.nii", "P1_M12.nii"),
        ("scan.nii#0", "scan.nii#7"),
        ("p1", "p1_followup2"),
    ],
)
def test_lookalikes_are_warned_of(one, other):
    warning = find_lookalikes({one: "train", "q_ses-1": "train", "r": "val", other: "test"})
    assert f"{one} (train)" in warning
    assert f"{other} (test)" in warning
    assert not find_lookalikes({one: "train", other: "train"})


@pytest.mark.parametrize(
    "names",
    [
        ["p1", "p2"],
        ["p1/ses-1/T1.nii", "p2/ses-1/T1.nii"],
        ["sub-01_ses-1.nii", "sub-02_ses-1.nii"],
        ["patient_0001", "patient_0002"],
        ["T1.nii", "T2.nii"],
        ["ses-1", "ses-2"],
        ["BraTS_001_t1", "BraTS_002_t1"],
        ["site_20012345", "site_20012346"],
        ["a/scan.nii", "b/scan.nii"],
    ],
    ids=str,
)
def test_other_names_are_not_warned_of(names):
    assert not find_lookalikes(dict(zip(names, ("train", "test"), strict=True)))


def test_channels_of_nnunet_are_warned_of_and_counted():
    parts = {name: "train" if name.endswith("0.nii.gz") else "test" for name in CHANNELS}
    assert "MS_001_0000.nii.gz (train) and imagesTr/MS_001_0001.nii.gz (test)" in find_lookalikes(parts)
    assert ", and so do 2 more" in find_lookalikes(parts)


@pytest.mark.parametrize(
    ("subject", "message"), [("((", "a regular expression, got"), ("^([AB])?", "expression that matches C")]
)
def test_refuses_an_expression_that_finds_none(subject: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_by_subject(["A", "B", "C"], subject)
