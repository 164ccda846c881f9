"""Names of predictions: one file per case for any case names, or an error that names two cases."""

import os
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.output.names import mask_name, picture_name, place_all, probabilities_name

BASES = [
    "a",
    "1.2.840.113619",
    "lr0.001",
    "a.b",
    "gr\u00fcn",
    os.fsdecode(b"gr\xfcn"),
    "x y",
    "-o",
    "\u0130",
    "c_1",
    "c",
]
SUFFIXES = [".nii", ".nii.gz", ".NII.GZ", ".hdr", ".png", ".PNG", ".jpg", ".jpeg"]
FOLDERS = ["", "p/", "1.2/", "predict.json/", "probabilities/"]


def case(path, frame=0, frames=1, name=None):
    name = name or (path if frames == 1 else f"{path}#{frame}")
    return SimpleNamespace(name=name, volumes=(SimpleNamespace(path=path, frame=frame),))


files = st.builds("".join, st.tuples(*map(st.sampled_from, (FOLDERS, BASES, SUFFIXES))))
folders = st.dictionaries(files, st.integers(1, 3), min_size=1, max_size=20)


@given(folders)
def test_files_that_differ_have_outputs_that_differ(found):
    cases = [case(path, frame, frames) for path, frames in found.items() for frame in range(frames)]
    for name in (mask_name, probabilities_name):
        assert len({name(one) for one in cases}) == len(cases)


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec=None), min_size=1), unique=True, max_size=12))
def test_no_output_is_lost_or_lies_elsewhere(tmp_path_factory, names):
    """Cases named by a pattern or a table, with any characters."""
    folder = tmp_path_factory.getbasetemp()
    cases = [case("x/t1.nii.gz", name=name) for name in names]
    composed = {unicodedata.normalize("NFC", mask_name(one)) for one in cases}
    try:
        places = place_all([(one.name, mask_name(one)) for one in cases], folder)
    except (ValueError, UnicodeEncodeError):
        odd = any(len(name.encode("utf-8", "replace")) > 240 for name in names)
        surrogates = any("\ud800" <= c <= "\udfff" for name in names for c in name)
        assert odd or surrogates or len(composed) < len(cases)
        return
    assert set(places) == set(names)
    assert len({str(path) for path in places.values()}) == len(names)
    assert all(path.parent == folder for path in places.values())


@pytest.mark.parametrize(
    ("path", "name", "mask", "picture"),
    [
        ("a/x.nii.gz", "a/x.nii.gz", "a/x.nii.gz", "a/x.png"),
        ("x.nii", "x.nii", "x.nii", "x.nii.png"),
        ("x.hdr", "x.hdr", "x.hdr.nii.gz", "x.hdr.png"),
        ("1.2.840/t1.nii.gz", "1.2.840", "1.2.840.nii.gz", "1.2.840.png"),
        ("lr0.001.nii.gz", "lr0.001.nii.gz", "lr0.001.nii.gz", "lr0.001.png"),
        ("BRATS_001_0000.nii.gz", "BRATS_001", "BRATS_001.nii.gz", "BRATS_001.png"),
        ("b.jpg", "b.jpg", "b.jpg.png", "b.jpg.png"),
        ("b.PNG", "b.PNG", "b.PNG", "b.PNG.png"),
    ],
)
def test_names_are_the_cases(path, name, mask, picture):
    one = case(path, name=name)
    assert (mask_name(one), picture_name(one)) == (mask, picture)


@pytest.mark.parametrize("name", ["..", "../x.nii.gz", "/etc/x.nii.gz", "a//x.nii.gz", "a/./x.nii.gz", "n" * 260])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="expected case names that are valid file names"):
        place_all([("case", name)], tmp_path)


def test_names_that_are_one_file_are_refused_and_both_named(tmp_path):
    forms = [unicodedata.normalize(form, "gr\u00fcn.nii.gz") for form in ("NFC", "NFD")]
    with pytest.raises(ValueError, match="first and second both have"):
        place_all(zip(("first", "second"), forms, strict=True), tmp_path)
    with pytest.raises(ValueError, match="the file of one has the path of the folder of two"):
        place_all([("one", "a.nii.gz"), ("two", "a.nii.gz/b.nii.gz")], tmp_path)
    pair = [("one", "A.nii.gz"), ("two", "a.nii.gz")]
    assert len(place_all(pair, tmp_path)) == 2
    # As on a file system that takes both for one: the lock is found by its name in capitals.
    (tmp_path / ".LOCK").touch()
    with pytest.raises(ValueError, match="one and two both have"):
        place_all(pair, tmp_path)
