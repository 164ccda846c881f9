"""Read and write nnssl's list of images, `pretrain_data.json`: data sets, subjects, sessions, images and masks.

Its format is that of ``nnssl.data.raw_dataset.Collection`` (github.com/MIC-DKFZ/nnssl): nested dicts by id, with
``image_path`` and the paths of masks absolute or beginning with an environment variable, such as ``$nnssl_raw/``.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dali_cr.index.cases import Index
from dali_cr.index.corpus.joining import check_name
from dali_cr.index.files import Found
from dali_cr.index.volumes import Case
from dali_cr.system.atomic import write_whole

SESSION = "ses-DEFAULT"
"""nnssl's name for the session of a subject without sessions."""

_ROOTS = ("nnssl_raw", "nnssl_preprocessed")
"""Environment variables that written paths may start with."""

_BIDS = re.compile(r"(?<![^/])sub-[A-Za-z0-9]+"), re.compile(r"(?<![^/_])ses-[A-Za-z0-9]+")


def is_collection(path: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of a JSON file."""
    return os.fspath(path).lower().endswith(".json")


def read_collection(path: Path) -> tuple[Path, dict[str, Found]]:
    """Read the images that a `pretrain_data.json` lists.

    Parameters
    ----------
    path : Path
        Relative paths in it are relative to its folder.

    Returns
    -------
    top : Path
        Common parent folder of all images and masks.
    files : dict of str to Found
        Files by path relative to `top`, sorted. A case is named ``"dataset/subject/session/image"``.

    Raises
    ------
    ValueError
        If the file has another format or lists an image twice, or an environment variable of a path is not set.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and {"format", "cases"} <= content.keys():
            raise ValueError(
                "it is an index saved by scan; scan the folder of its data, or give it to pretrain as --index"
            )
        images = list(_images(content["datasets"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: expected a pretrain_data.json of nnssl, it cannot be read: {reason}") from error
    home = path.absolute().parent
    found: dict[Path, Found] = {}
    masks: dict[Path, Path] = {}
    for names, licence, image in images:
        try:
            check_name(names[0])
            place = _expand(image["image_path"], home)
            mask = (image.get("associated_masks") or {}).get("anonymization_mask")
            if mask:
                masks[place] = _expand(mask, home)
            case = "/".join((*names, PurePosixPath(str(image["name"])).name))
            modality = str(image.get("modality") or "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: an image of {'/'.join(names)}: {reason}") from error
        if place in found:
            raise ValueError(f"{path}: expected each image once, got {place} twice")
        found[place] = Found(case, None, explicit=True, modality=modality, licence=licence, dataset=names[0])
    if not found:
        raise ValueError(f"{path}: expected at least one image, got none")
    top = Path(os.path.commonpath([place.parent for place in (*found, *masks.values())]))
    files = {
        place.relative_to(top).as_posix(): _with_mask(file, masks.get(place), top) for place, file in found.items()
    }
    return top, dict(sorted(files.items()))


def _images(datasets: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], str, Mapping[str, Any]]]:
    """Yield each image with the ids of its data set, subject and session, and its licence."""
    for dataset, about in datasets.items():
        info = about.get("dataset_info") or {}
        licence = next((str(info[key]) for key in ("licence", "license") if info.get(key)), "")
        for subject, sessions in about["subjects"].items():
            for session, images in sessions["sessions"].items():
                for image in images["images"]:
                    yield (str(dataset), str(subject), str(session)), licence, image


def _expand(path: str, home: Path) -> Path:
    """Return an absolute path, with the environment variable at its start expanded."""
    first, slash, rest = path.partition("/")
    if first.startswith("$"):
        if not (root := os.environ.get(first[1:])):
            raise ValueError(f"expected the environment variable {first[1:]}, used in {path}; set it")
        path = f"{root}{slash}{rest}"
    return Path(os.path.normpath(home / path))


def _with_mask(file: Found, mask: Path | None, top: Path) -> Found:
    return Found(**(vars(file) | {"mask": mask.relative_to(top).as_posix()})) if mask else file


def write_collection(index: Index, path: str | os.PathLike[str], name: str, number: int = 0) -> None:
    """Write a `pretrain_data.json` for nnssl, atomically.

    Parameters
    ----------
    index : Index
        Every channel becomes a separate image. Data sets without a name get that of the collection; subjects and
        sessions are those of BIDS names, else each case is a subject with one session.
    path : path
    name : str
        Name of the collection, such as "Dataset745_OpenMind".
    number : int
        Number of the collection.

    Raises
    ------
    ValueError
        If the index has no case, or files that nnssl cannot read: brick stores, images, frames of 4-D files, or
        different suffixes.
    """
    if not index.cases:
        raise ValueError("nnssl: expected at least one case, got none")
    _check_files(index)
    datasets: dict[str, Any] = {}
    for case in index.cases:
        dataset, subject, session = _ids_of(case, index.layout, name)
        info = {"licence": case.licence} if case.licence else {}
        one = datasets.setdefault(
            dataset, {"dataset_index": dataset, "name": None, "dataset_info": info, "subjects": {}}
        )
        about = one["subjects"].setdefault(subject, {"subject_id": subject, "sessions": {}, "subject_info": None})
        sessions = about["sessions"]
        images = sessions.setdefault(session, {"session_id": session, "session_info": None, "images": []})["images"]
        images += _entries(index, case, {image["name"] for image in images})
    content = {"collection_index": number, "collection_name": name, "datasets": datasets}
    write_whole(path, json.dumps(content, indent=1).encode(), f".{os.getpid()}")


def _check_files(index: Index) -> None:
    """Raise ValueError if nnssl cannot read the files of an index."""
    for case in index.cases:
        for volume in case.volumes:
            if volume.packed or not volume.path.lower().endswith((".nii", ".nii.gz")) or volume.geometry.frames > 1:
                raise ValueError(
                    f"nnssl: expected .nii and .nii.gz files of three axes, got {volume.data}; unpack or convert it"
                )
    endings = Counter(volume.path.lower().endswith(".gz") for case in index.cases for volume in case.volumes)
    if len(endings) > 1:
        raise ValueError(
            f"nnssl: expected files of one suffix, got {endings[True]} of .nii.gz and {endings[False]} of .nii"
        )


def _ids_of(case: Case, layout: str, collection: str) -> tuple[str, str, str]:
    """Return the data set, subject and session of a case."""
    dataset = case.dataset or collection
    name = case.name.removeprefix(f"{case.dataset}/") if case.dataset else case.name
    if layout == "nnssl":
        subject, session, _ = name.rsplit("/", 2)  # the subject of a list that was joined contains its data set
        return dataset, subject, session
    subject, session = (found[0] if (found := pattern.search(name)) else "" for pattern in _BIDS)
    return dataset, subject or re.sub(r"\.nii(\.gz)?$", "", name).replace("/", "_"), session or SESSION


def _entries(index: Index, case: Case, taken: set[str]) -> list[dict[str, Any]]:
    """Return the images of a case; equal names of a session are prefixed with their folders."""
    entries = []
    mask = _place(index.root / case.mask.path) if case.mask else None
    for number, volume in enumerate(case.volumes):
        name = PurePosixPath(volume.path).name
        if name in taken:
            name = volume.path.replace("/", "_")
        taken.add(name)
        channel = index.channel_names[number] if len(index.channel_names) == len(case.volumes) else ""
        entries.append(
            {
                "name": name,
                "modality": channel if channel and len(case.volumes) > 1 else case.modality or channel or None,
                "image_path": _place(index.root / volume.path),
                "image_info": {},
                "associated_masks": {"anatomy_mask": None, "anonymization_mask": mask},
            }
        )
    return entries


def _place(path: Path) -> str:
    """Return a path that starts with the environment variable of its folder, or an absolute path."""
    place = os.path.abspath(path)
    for root in _ROOTS:
        folder = os.environ.get(root)
        if folder and place.startswith(f"{os.path.abspath(folder)}/"):
            return f"${root}/{os.path.relpath(place, folder)}"
    return place
