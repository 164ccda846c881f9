"""Both Unicode forms of a name are the same name: splits and labels from macOS match images on Linux."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.labels import match
from train.data.split.make import make_split
from train.data.split.parts import Split
from train.data.subjects.names import find_subject, short_name

FORMS = ("NFC", "NFD")
NAMES = st.text(st.sampled_from("ab\u00f6\u00e9\u1e69\uac00"), min_size=1, max_size=6)


def forms(name):
    return [unicodedata.normalize(form, name) for form in FORMS]


@given(NAMES)
def test_both_forms_have_one_short_name_and_one_subject(name):
    assert len({short_name(f"x/{form}.nii.gz") for form in forms(name)}) == 1
    assert len({find_subject(f"sub-{form}_T1w.nii.gz", r"sub-(.+)_") for form in forms(name)}) == 1


@given(st.lists(NAMES, min_size=3, max_size=8, unique_by=lambda name: unicodedata.normalize("NFC", name)))
def test_a_split_of_one_form_has_the_cases_of_the_other(names):
    made, other = ([f"{unicodedata.normalize(form, name)}.nii.gz" for name in names] for form in FORMS)
    split = make_split(made, (0.4, 0.3, 0.3), seed=0)
    assert [split.part_of(case) for case in made] == [split.part_of(case) for case in other]
    assert None not in [split.part_of(case) for case in other]


def test_a_subject_in_two_forms_is_in_two_parts():
    one, other = forms("gr\u00fcn")
    with pytest.raises(ValueError, match="is in train and in test"):
        Split(frozenset([one]), frozenset(["a"]), frozenset([other]))


def test_a_label_in_another_form_is_the_images():
    image, label = forms("gr\u00f6n_01.nii.gz")
    assert match([image], {label: None}, "label", "refuse") == ({image: label}, [])
