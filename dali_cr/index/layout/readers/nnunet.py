"""Read nnU-Net's layout: `imagesTr/CASE_0000.nii.gz`, one file per channel, or one per case as in the Decathlon."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dali_cr.index.layout.dataset_json import FILE_NAME, DatasetJson, read_dataset_json
from dali_cr.index.layout.readers.claims import Claims, stem_of
from dali_cr.volume.reader import is_volume

MAX_CHANNELS = 16
"""Without a dataset.json, larger numbers are taken as numbers of cases."""

_IMAGES = re.compile(r"images[A-Z]\w*")
_LABELS = re.compile(r"labels[A-Z]\w*")
_NUMBERED = re.compile(r"(.+)_(\d{4})")

Groups = Mapping[PurePosixPath, Sequence[str]]


def read_nnunet(root: Path, paths: Sequence[str], channels: Sequence[str], requested: bool) -> Claims | None:
    """Read the files of a folder as an nnU-Net data set.

    The layout is recognised by folders such as `imagesTr`, or by names that end with `_0000`, `_0001`, ..., with the
    same channels in every case. It is rejected if there are volumes outside of the folders of images and labels, unless
    there is a `dataset.json`. Cases in `imagesTr` are named without the folder, cases in other folders with it.

    Parameters
    ----------
    root : Path
    paths : sequence of str
        Relative paths of the volumes and images.
    channels : sequence of str
        Channels to use, in order, by number or by name in `dataset.json`. Default: all.
    requested : bool
        Whether the user selected the layout; then the names of the files suffice.

    Returns
    -------
    claims : Claims or None
        None if the folder does not have the layout.

    Raises
    ------
    ValueError
        If `channels` has an unknown name, or `dataset.json` cannot be read.
    """
    groups, sure = _images(root, paths)
    if not (sure or requested or _all_numbered(filter(is_volume, paths))):
        return None
    if sure and not requested and _has_other_volumes(groups, paths) and not (root / FILE_NAME).is_file():
        return None
    datasets = {group: read_dataset_json(found) for group in groups if (found := _dataset_of(root / group))}
    known = _agreed(datasets.values()) if len(datasets) == len(groups) else None
    endings = tuple({dataset.file_ending.lower() for dataset in datasets.values()} - {""})
    groups = {group: [p for p in some if is_volume(p) or p.lower().endswith(endings)] for group, some in groups.items()}
    files = [path for some in groups.values() for path in some]
    count = len(known.channels) if known else 0
    if not files:
        return None
    if _are_channels(root, groups, count, sure or requested):
        # If names of channels repeat, the numbers are used instead.
        known_names = known.channels if known and len(set(known.channels)) == count else ()
        claims = _by_channel(groups, known_names, channels, paths)
        return replace(claims, sure=sure or requested or known is not None)
    if not sure or channels:
        return None
    names = {path: (_case(path, stem_of(path)), None) for path in files}
    return Claims(names, (), _skipped(paths, names, "outside the layout"))


def _images(root: Path, paths: Sequence[str]) -> tuple[dict[PurePosixPath, list[str]], bool]:
    """Return the files of each folder of images, and whether the folders have nnU-Net's names."""
    by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[PurePosixPath(path).parent].append(path)
    named = {folder: some for folder, some in by_folder.items() if _IMAGES.fullmatch(folder.name)}
    here = PurePosixPath(".")
    if not named and _IMAGES.fullmatch(root.name) and here in by_folder:
        named = {here: by_folder[here]}
    others = {folder: some for folder, some in by_folder.items() if not _LABELS.fullmatch(folder.name)}
    return (named, True) if named else (others, False)


def _has_other_volumes(groups: Groups, paths: Sequence[str]) -> bool:
    """Whether there are volumes outside of the folders of images and labels."""
    folders = {PurePosixPath(path).parent for path in paths if is_volume(path)} - set(groups)
    return any(not _LABELS.fullmatch(folder.name) for folder in folders)


def _dataset_of(folder: Path) -> Path | None:
    """Return the `dataset.json` of a folder, or of the parent of a folder of images; None without one."""
    places = (folder, folder.parent) if folder.name.startswith("images") else (folder,)
    return next((place / FILE_NAME for place in places if (place / FILE_NAME).is_file()), None)


def _agreed(datasets: Iterable[DatasetJson]) -> DatasetJson | None:
    """Return the first data set if all have the same channels, else None."""
    some = list(datasets)
    return some[0] if some and len({dataset.channels for dataset in some}) == 1 else None


def _all_numbered(paths: Iterable[str]) -> bool:
    return all(_NUMBERED.fullmatch(stem_of(path)) for path in paths)


def _are_channels(root: Path, groups: Groups, count: int, sure: bool) -> bool:
    """Whether the numbers at the end of names are channels, not cases."""
    stems = [stem_of(path) for some in groups.values() for path in some]
    parts = [found.groups() for stem in stems if (found := _NUMBERED.fullmatch(stem))]
    if 2 * len(parts) <= len(stems) or _label_stems(root, groups) & set(stems):
        return False
    numbers = [int(number) for _, number in parts]
    if count:
        return 2 * sum(number < count for number in numbers) > len(numbers)
    channels: dict[str, set[str]] = defaultdict(set)
    for case, number in parts:
        channels[case].add(number)
    plausible = 0 in numbers and max(numbers) < MAX_CHANNELS
    alike = len(channels) > 1 and len(set(map(frozenset, channels.values()))) == 1
    return plausible and (sure or alike)


def _label_stems(root: Path, groups: Groups) -> set[str]:
    """Return the names of the label files that belong to folders of images, which are names of cases."""
    folders = {root / group.parent / _labels_of(group.name) if group.name else root.parent / _labels_of(root.name)
               for group in groups}  # fmt: skip
    return {stem_of(file.name) for folder in folders if folder.is_dir() for file in folder.iterdir()}


def _labels_of(images: str) -> str:
    return images.replace("images", "labels", 1) if images.startswith("images") else "labelsTr"


def _by_channel(groups: Groups, known_names: Sequence[str], channels: Sequence[str], paths: Sequence[str]) -> Claims:
    """Return the claims with one file per channel."""
    selected = tuple(_channel_name(channel, known_names) for channel in channels)
    names, numbers = {}, set()
    for path in (path for some in groups.values() for path in some):
        if found := _NUMBERED.fullmatch(stem_of(path)):
            case, number = found.groups()
            name = known_names[int(number)] if int(number) < len(known_names) else number
            if not selected or name in selected:
                names[path] = (_case(path, case), name)
                numbers.add(number)
    order = selected or tuple(known_names) or tuple(sorted(numbers))
    return Claims(names, order, _skipped(paths, names, "of other channels" if selected else "outside the layout"))


def _channel_name(channel: str, known_names: Sequence[str]) -> str:
    """Return a channel's name in dataset.json from its name or its number."""
    if channel in known_names:
        return channel
    if re.fullmatch(r"\d{4}", channel):
        return known_names[int(channel)] if int(channel) < len(known_names) else channel
    known = ", ".join(known_names) or "none, because there is no dataset.json next to the images"
    raise ValueError(f"channels: expected numbers such as 0000, or names in dataset.json ({known}), got {channel}")


def _case(path: str, name: str) -> str:
    """Return the name of a case, prefixed with its folder unless that is imagesTr."""
    folder = PurePosixPath(path).parent
    return ((folder.parent if folder.name == "imagesTr" else folder) / name).as_posix()


def _skipped(paths: Sequence[str], taken: Mapping[str, object], reason: str) -> dict[str, str]:
    """Return the reasons why the other files are not in a case."""
    folders = {path: PurePosixPath(path).parent.name for path in paths if path not in taken}
    return {path: f"in {name}" if _LABELS.fullmatch(name) else reason for path, name in folders.items()}
