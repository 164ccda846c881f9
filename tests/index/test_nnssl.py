"""nnssl's list of images: read with its masks, written so that it is read again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.__main__ import main
from dali_cr.index.corpus.nnssl import write_collection
from tests.helpers.volumes import write_nifti

SHAPE = (6, 7, 8)


def numbers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 999, SHAPE)


def image(name: str, path: str, **more: Any) -> dict[str, Any]:
    masks = {"anatomy_mask": None, "anonymization_mask": None}
    plain = {"name": name, "modality": "T1w", "image_path": path, "image_info": {}, "associated_masks": masks}
    return plain | more


def sessions(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"sessions": {"ses-1": {"session_id": "ses-1", "images": images}}}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    for number, name in enumerate(("a/1.nii.gz", "a/2.nii.gz", "b/3.nii.gz", "b/4.nii.gz")):
        write_nifti(raw / name, numbers(number))
    face = np.zeros(SHAPE)
    face[:2] = 1
    write_nifti(raw / "masks" / "1.nii.gz", face, orientation="LPS", dtype="|u1")
    write_nifti(raw / "masks" / "2.nii.gz", np.zeros(SHAPE), dtype="|u1")
    write_nifti(raw / "masks" / "4.nii.gz", face[1:], dtype="|u1")
    return raw


@pytest.fixture(scope="module")
def listed(raw: Path) -> Path:
    masked = {n: {"associated_masks": {"anonymization_mask": f"$nnssl_raw/masks/{n}.nii.gz"}} for n in (1, 2, 4)}
    datasets = {
        "ds1": {
            "dataset_info": {"license": "CC0"},
            "subjects": {
                "sub-1": sessions([image("1.nii.gz", "$nnssl_raw/a/1.nii.gz", **masked[1])]),
                "sub-2": sessions([image("2.nii.gz", str(raw / "a/2.nii.gz"), **masked[2])]),
            },
        },
        "ds2": {
            "subjects": {
                "sub-1": sessions([image("3.nii.gz", "b/3.nii.gz", modality="FLAIR", associated_masks=None)]),
                "sub-4": sessions([image("4.nii.gz", "b/4.nii.gz", **masked[4]), image("5.mha", "b/5.mha")]),
            },
        },
    }
    content = {"collection_index": 1, "collection_name": "Dataset001_Test", "datasets": datasets}
    (raw / "pretrain_data.json").write_text(json.dumps(content))
    return raw / "pretrain_data.json"


@pytest.fixture
def index(listed: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> dali_cr.Index:
    monkeypatch.setenv("nnssl_raw", f"{raw}/")
    return dali_cr.scan(listed, progress=False)


def test_read(index: dali_cr.Index, listed: Path, tmp_path: Path) -> None:
    texts = [(case.name, case.dataset, case.modality, case.licence) for case in index]
    assert texts == [
        ("ds1/sub-1/ses-1/1.nii.gz", "ds1", "T1w", "CC0"),
        ("ds1/sub-2/ses-1/2.nii.gz", "ds1", "T1w", "CC0"),
        ("ds2/sub-1/ses-1/3.nii.gz", "ds2", "FLAIR", ""),
    ]
    assert (index.layout, list(index.datasets)) == ("nnssl", ["ds1", "ds2"])
    masks = [case.mask for case in index]
    assert [mask and mask.path for mask in masks] == ["masks/1.nii.gz", None, None]  # the second masks nothing
    assert masks[0] is not None
    assert masks[0].shape == index[0].shape == SHAPE[::-1]
    reasons = {problem.path: problem.reason for problem in index.problems}
    assert set(reasons) == {"b/4.nii.gz", "b/5.mha"}
    assert "anonymisation mask, masks/4.nii.gz: is on another grid" in reasons["b/4.nii.gz"]
    index.save(tmp_path / "index.json")
    again = dali_cr.Index.load(tmp_path / "index.json")
    assert (again.fingerprint, again.changed()) == (index.fingerprint, ())
    assert again[0].mask is not None
    assert dali_cr.scan(listed, known=again, progress=False).fingerprint == index.fingerprint
    joined = dali_cr.Index.concat({"open": index})
    assert joined.changed() == ()
    assert joined[0].mask is not None


def test_a_mask_is_part_of_the_fingerprint(index: dali_cr.Index) -> None:
    bare = dali_cr.Index.concat({"a": index.dataset("ds1"), "b": index.dataset("ds2")})
    cases = [dali_cr.index.volumes.Case(case.name, case.volumes, case.dataset) for case in bare]
    assert dali_cr.Index(bare.root, tuple(cases), datasets=bare.datasets).fingerprint != bare.fingerprint


def test_written_and_read_again(index: dali_cr.Index, raw: Path) -> None:
    out = raw / "Dataset002_Again" / "pretrain_data.json"
    out.parent.mkdir()
    write_collection(index, out, "Dataset002_Again", 2)
    content = json.loads(out.read_text())
    assert (content["collection_index"], content["collection_name"]) == (2, "Dataset002_Again")
    one = content["datasets"]["ds1"]["subjects"]["sub-1"]["sessions"]["ses-1"]["images"]
    assert one == [
        {
            "name": "1.nii.gz",
            "modality": "T1w",
            "image_path": "$nnssl_raw/a/1.nii.gz",
            "image_info": {},
            "associated_masks": {"anatomy_mask": None, "anonymization_mask": "$nnssl_raw/masks/1.nii.gz"},
        }
    ]
    again = dali_cr.scan(out, progress=False)
    assert again.fingerprint == index.fingerprint
    assert [case.licence for case in again] == ["CC0", "CC0", ""]


def test_joined_lists_keep_their_subjects(index: dali_cr.Index, raw: Path) -> None:
    joined = dali_cr.Index.concat({"one": index, "two": index})
    out = raw / "joined.json"
    write_collection(joined, out, "Dataset003_Joined")
    datasets = json.loads(out.read_text())["datasets"]
    subjects = {"/".join(case.name.split("/")[:2]) for case in index.cases}
    assert {name: set(one["subjects"]) for name, one in datasets.items()} == {"one": subjects, "two": subjects}


def test_plain_data_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")):
        write_nifti(tmp_path / "bids" / name, numbers(number))
    out = tmp_path / "pretrain_data.json"
    assert main(["scan", str(tmp_path / "bids"), "--save-nnssl", str(out)]) == 0
    (dataset,) = json.loads(out.read_text())["datasets"].values()
    found = {subject: list(about["sessions"]) for subject, about in dataset["subjects"].items()}
    assert found == {"sub-01": ["ses-2"], "sub-02": ["ses-DEFAULT"]}
    write_nifti(tmp_path / "bids" / "x.nii", numbers(9))
    assert main(["scan", str(tmp_path / "bids"), "--layout", "files", "--save-nnssl", str(out)]) == 2
    assert "files of one suffix, got 2 of .nii.gz and 1 of .nii" in capsys.readouterr().err


def test_what_is_no_list(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnssl_raw", raising=False)
    with pytest.raises(ValueError, match=r"environment variable nnssl_raw, used in \$nnssl_raw/a/1.nii.gz; set it"):
        dali_cr.scan(listed, progress=False)
    for text, message in (
        ("{}", "datasets"),
        ("[]", "cannot be read"),
        ('{"datasets": {"a": {}}}', "'subjects' is missing"),
        ('{"datasets": {"a": {"subjects": {"s": {"sessions": {"t": {"images": [{}]}}}}}}}', "a/s/t: 'image_path' is"),
        (
            '{"datasets": {"a": {"subjects": {"s": {"sessions": {"t": {"images": [{"image_path": "x.nii", "name": "x", '
            '"associated_masks": {"anonymization_mask": 3}}]}}}}}}}',
            "an image of a/s/t: 'int' object",
        ),
    ):
        (tmp_path / "list.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            dali_cr.scan(tmp_path / "list.json", progress=False)
    with pytest.raises(ValueError, match="expected folders, or one CSV file or JSON file"):
        dali_cr.scan([listed, tmp_path], progress=False)
