"""nnU-Net's layout: `imagesTr/CASE_0000.nii.gz`, a file a channel, or a file a case as in the Decathlon."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dali_cr.index.layout.claims import Claims, stem_of
from dali_cr.index.layout.dataset_json import FILE_NAME, DatasetJson, read_dataset_json
from dali_cr.volume.reader import is_volume

MAX_CHANNELS = 16
"""Without a dataset.json, more numbers than this are those of cases."""

_IMAGES = re.compile(r"images[A-Z]\w*")
_LABELS = re.compile(r"labels[A-Z]\w*")
_NUMBERED = re.compile(r"(.+)_(\d{4})")

Groups = Mapping[PurePosixPath, Sequence[str]]


def read_nnunet(root: Path, paths: Sequence[str], channels: Sequence[str], asked: bool) -> Claims | None:
    """Read the files of a folder as nnU-Net's.

    It is recognised by folders such as `imagesTr`, or by names on `_0000`, `_0001`, ... in all files, alike in every
    case. Volumes elsewhere than in folders of images and labels speak against it, unless there is a `dataset.json`.
    Cases of `imagesTr` are named by their number alone, those of other folders by the folder too.

    Parameters
    ----------
    root : Path
    paths : sequence of str
        The volumes and images under it, relative.
    channels : sequence of str
        Which to take, in order, by their numbers or their names in `dataset.json`; all without them.
    asked : bool
        Whether the layout was asked for: names then decide without further signs.

    Returns
    -------
    claims : Claims or None
        None if the folder has no such layout.

    Raises
    ------
    ValueError
        If `channels` names one that is not known, or `dataset.json` cannot be read.
    """
    groups, sure = _images(root, paths)
    if not (sure or asked or _all_numbered(filter(is_volume, paths))):
        return None
    if sure and not asked and _strangers(groups, paths) and not (root / FILE_NAME).is_file():
        return None
    datasets = {group: read_dataset_json(found) for group in groups if (found := _dataset_of(root / group))}
    known = _agreed(datasets.values()) if len(datasets) == len(groups) else None
    endings = tuple({dataset.file_ending.lower() for dataset in datasets.values()} - {""})
    groups = {group: [p for p in some if is_volume(p) or p.lower().endswith(endings)] for group, some in groups.items()}
    files = [path for some in groups.values() for path in some]
    count = len(known.channels) if known else 0
    if not files:
        return None
    if _are_channels(root, groups, count, sure or asked):
        # Names that are alike tell no channels apart: their numbers do.
        called = known.channels if known and len(set(known.channels)) == count else ()
        claims = _by_channel(groups, called, channels, paths)
        return replace(claims, sure=sure or asked or known is not None)
    if not sure or channels:
        return None
    names = {path: (_case(path, stem_of(path)), None) for path in files}
    return Claims(names, (), _passed(paths, names, "outside the layout"))


def _images(root: Path, paths: Sequence[str]) -> tuple[dict[PurePosixPath, list[str]], bool]:
    """Return the files of each folder of images, and whether the folders are called as nnU-Net's are."""
    by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[PurePosixPath(path).parent].append(path)
    named = {folder: some for folder, some in by_folder.items() if _IMAGES.fullmatch(folder.name)}
    here = PurePosixPath(".")
    if not named and _IMAGES.fullmatch(root.name) and here in by_folder:
        named = {here: by_folder[here]}
    others = {folder: some for folder, some in by_folder.items() if not _LABELS.fullmatch(folder.name)}
    return (named, True) if named else (others, False)


def _strangers(groups: Groups, paths: Sequence[str]) -> bool:
    """Whether there are volumes elsewhere than in folders of images and labels."""
    folders = {PurePosixPath(path).parent for path in paths if is_volume(path)} - set(groups)
    return any(not _LABELS.fullmatch(folder.name) for folder in folders)


def _dataset_of(folder: Path) -> Path | None:
    """Return the `dataset.json` of a folder, or of the one above a folder of images; None without one."""
    places = (folder, folder.parent) if folder.name.startswith("images") else (folder,)
    return next((place / FILE_NAME for place in places if (place / FILE_NAME).is_file()), None)


def _agreed(datasets: Iterable[DatasetJson]) -> DatasetJson | None:
    """Return the first of datasets whose channels are alike, None if they are not."""
    some = list(datasets)
    return some[0] if some and len({dataset.channels for dataset in some}) == 1 else None


def _all_numbered(paths: Iterable[str]) -> bool:
    return all(_NUMBERED.fullmatch(stem_of(path)) for path in paths)


def _are_channels(root: Path, groups: Groups, count: int, sure: bool) -> bool:
    """Whether the numbers behind names are those of channels, not of cases."""
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
    """Return the names of the labels beside folders of images: those of cases."""
    folders = {root / group.parent / _labels_of(group.name) if group.name else root.parent / _labels_of(root.name)
               for group in groups}  # fmt: skip
    return {stem_of(file.name) for folder in folders if folder.is_dir() for file in folder.iterdir()}


def _labels_of(images: str) -> str:
    return images.replace("images", "labels", 1) if images.startswith("images") else "labelsTr"


def _by_channel(groups: Groups, called: Sequence[str], channels: Sequence[str], paths: Sequence[str]) -> Claims:
    """Return claims of a file a channel."""
    wanted = tuple(_channel_name(channel, called) for channel in channels)
    names, numbers = {}, set()
    for path in (path for some in groups.values() for path in some):
        if found := _NUMBERED.fullmatch(stem_of(path)):
            case, number = found.groups()
            name = called[int(number)] if int(number) < len(called) else number
            if not wanted or name in wanted:
                names[path] = (_case(path, case), name)
                numbers.add(number)
    order = wanted or tuple(called) or tuple(sorted(numbers))
    return Claims(names, order, _passed(paths, names, "of other channels" if wanted else "outside the layout"))


def _channel_name(channel: str, called: Sequence[str]) -> str:
    """Return a channel's name in dataset.json, of its name or its number."""
    if channel in called:
        return channel
    if re.fullmatch(r"\d{4}", channel):
        return called[int(channel)] if int(channel) < len(called) else channel
    known = ", ".join(called) or "none, as no dataset.json beside the images names them"
    raise ValueError(f"channels: expected numbers such as 0000, or names of dataset.json ({known}), got {channel}")


def _case(path: str, name: str) -> str:
    """Return the name of a case: with its folder, but for imagesTr."""
    folder = PurePosixPath(path).parent
    return ((folder.parent if folder.name == "imagesTr" else folder) / name).as_posix()


def _passed(paths: Sequence[str], taken: Mapping[str, object], otherwise: str) -> dict[str, str]:
    """Return why each of the other files is in no case."""
    folders = {path: PurePosixPath(path).parent.name for path in paths if path not in taken}
    return {path: f"in {name}" if _LABELS.fullmatch(name) else otherwise for path, name in folders.items()}
