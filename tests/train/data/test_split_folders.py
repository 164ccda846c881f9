"""Random folders of sessions, channels, copies and shared labels: no image or subject is in two parts of a split."""

import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dali_cr
from dali_cr.index.parts.connected import connected
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train.data.split.make import load_split
from train.data.split.parts import PARTS, Split
from train.data.subjects.names import short_name
from train.splits import SplitsConfig, main

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHAPE = (5, 4, 3)
STORED = st.tuples(
    st.sampled_from(["<i2", ">i2", "<f4", ">f8", "<u1", "<i4"]),
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(["", ".gz"]),
)
"""Storage of an image: dtype, orientation, compression."""

NAMES = {
    "bids": "sub-{subject:02}/ses-{number}/anat/sub-{subject:02}_ses-{number}_T1w.nii",
    "flat bids": "sub-{subject:02}_ses-{number}.nii",
    "nnunet": "imagesTr/ID_{subject:03}_{number:04}.nii",
    "flat": "scan{subject}x{number}.nii",
}


@st.composite
def folders(draw):
    """Draw a layout and the files of a folder: subject, session or channel number, image, storage."""
    layout = draw(st.sampled_from(sorted(NAMES)))
    files = []
    for subject in range(draw(st.integers(3, 7))):
        for number in range(draw(st.integers(1, 3))):
            image = draw(st.integers(0, 30))  # the same number is the same image
            files.append((subject, number, image, draw(STORED)))
    return layout, files


def write(root, layout, files):
    """Write the files; return the subject and the image of each name."""
    known = {}
    for subject, number, image, (dtype, orientation, gz) in files:
        name = NAMES[layout].format(subject=subject, number=number) + gz
        values = np.random.default_rng(image).integers(0, 200, SHAPE)
        write_nifti(root / name, values, dtype=dtype, orientation=orientation)
        known[name] = (subject if layout != "flat" else name, image)
    return known


def split_folder(root, **changes):
    """Run the command and return the split from its file."""
    out = root.parent / "splits.json"
    main(SplitsConfig(data=(root,), out=out, fractions=(0.5, 0.25, 0.25), layout="files", **changes))
    return load_split(out)


FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(folders(), st.integers(0, 9))
def test_no_image_and_no_subject_is_in_two_parts(folder, seed):
    layout, files = folder
    with TemporaryDirectory() as made:
        root = Path(made) / "data"
        known = write(root, layout, files)
        apart = connected({("subject", subject), ("image", image)} for subject, image in known.values())
        if len(apart) < 3:
            with pytest.raises(ValueError, match="split: expected at least 3"):
                split_folder(root, seed=seed)
            return
        split = split_folder(root, seed=seed)
        parts = {name: split.part_of(name) for name in known}
        assert set(parts.values()) == set(PARTS)
        for one, other in combinations(known, 2):
            if any(a == b for a, b in zip(known[one], known[other], strict=True)):
                assert parts[one] == parts[other], (one, other)
        index = dali_cr.scan(root, layout="files", progress=False)
        taken = [{case.name for case in split.take(index, part).cases} for part in PARTS]
        assert sorted(name for part in taken for name in part) == sorted(known)


@FEW
@given(folders(), st.randoms(use_true_random=False))
def test_a_split_by_hand_is_taken_only_if_no_image_is_in_two_parts(folder, random):
    layout, files = folder
    with TemporaryDirectory() as made:
        known = write(Path(made), layout, files)
        drawn = {name: random.choice(PARTS) for name in known}
        split = Split(*(frozenset(short_name(name) for name in known if drawn[name] == part) for part in PARTS))
        where = defaultdict(set)
        for name, (_, image) in known.items():
            where[image].add(drawn[name])
        index = dali_cr.scan(made, layout="files", progress=False)
        for part in set(drawn.values()):
            if max(map(len, where.values())) > 1:
                with pytest.raises(ValueError, match="split: expected cases that hold the same image in one part"):
                    split.take(index, part)
            else:
                split.take(index, part)


@FEW
@given(st.lists(st.integers(1, 3), min_size=3, max_size=7), st.integers(0, 9))
def test_images_of_one_label_are_in_one_part(images, seed):
    """With numbers too large for channels, only the shared label shows that images belong to one patient."""
    with TemporaryDirectory() as made:
        root = Path(made) / "data"
        names = [f"P{n}_{20 + i:04}.nii" for n, count in enumerate(images) for i in range(count)]
        for place, name in enumerate(names):
            write_nifti(root / name, np.random.default_rng(place).integers(0, 200, SHAPE))
        for n in range(len(images)):
            write_nifti(Path(made) / "labels" / f"P{n}.nii", np.arange(60).reshape(SHAPE) // 30)
        split = split_folder(root, seed=seed, labels=Path(made) / "labels")
        assert split.subject is None
        for n in range(len(images)):
            assert len({split.part_of(name) for name in names if name.startswith(f"P{n}_")}) == 1


def test_the_file_has_every_subject_once(tmp_path):
    files = [
        (subject, number, subject * 7 + number, ("<i2", "LPS", ".gz")) for subject in range(6) for number in (0, 1)
    ]
    write(tmp_path / "data", "bids", files)
    split_folder(tmp_path / "data")
    content = json.loads((tmp_path / "splits.json").read_text())
    assert content["subject"] == r"(?<![^/])sub-[A-Za-z0-9]+"
    assert sorted(name for part in PARTS for name in content[part]) == [f"sub-{n:02}" for n in range(6)]
