"""Detect label volumes (segmentations), which must not be used as images.

A volume is a label if its values look like classes (`Statistics.classes`) and either its path contains a word such as
"mask", or there is an image of the same case on the same grid. Values alone are not enough: an 8-bit image has few
values too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from dali_cr.index.volumes import Volume

_WORD = re.compile(
    r"(\w*(label|mask|seg|segm|segmentation|parcellation|annotation|labelmap)"
    r"|annot|aparc|contour|delineation|(ground)?truth|gt|lesion|roi|wmparc)s?"
)
_NOT = re.compile(r"(un|non)\w+")
_WORDS_OF_A_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def find_labels(files: Mapping[str, Sequence[Volume]], names: Mapping[str, str | None]) -> dict[str, str]:
    """Find the label volumes.

    Parameters
    ----------
    files : mapping of str to sequence of Volume
        The frames of each file, by path.
    names : mapping of str to str or None
        The case of each file according to the pattern, by path; None if the pattern has no case.

    Returns
    -------
    labels : dict of str to str
        The reason for each label, by path.
    """
    labels = {}
    neighbours = _Neighbours({path: frames[0] for path, frames in files.items() if not _has_classes(frames)}, names)
    for path, frames in files.items():
        if _has_classes(frames):
            word = label_word(path)
            image = None if word else neighbours.find(path, frames[0])
            reason = f'its path says "{word}"' if word else f"{image} is an image of the same case" if image else None
            if reason:
                count = max(volume.statistics.distinct for volume in frames)
                labels[path] = f"looks like a label: {count} distinct values, and {reason}; use include to add it"
    return labels


def label_word(path: str) -> str | None:
    """Return the word in a path that marks a label, or None.

    Examples
    --------
    >>> label_word("MSD/labelsTr/case_1.nii.gz"), label_word("a/case_1_seg.nii.gz"), label_word("unlabelled/1.nii")
    ('labels', 'seg', None)
    """
    for part in reversed(PurePosixPath(path).parts):
        for word in _WORDS_OF_A_NAME.findall(part):
            if _WORD.fullmatch(word.lower()) and not _NOT.fullmatch(word.lower()):
                return str(word)
    return None


def _has_classes(frames: Sequence[Volume]) -> bool:
    return all(volume.statistics.classes for volume in frames)


class _Neighbours:
    """Images by case: the case of the pattern, else of the folder or of the file name."""

    def __init__(self, images: Mapping[str, Volume], names: Mapping[str, str | None]) -> None:
        self._names = names
        self._images: dict[tuple[str, ...], list[Volume]] = defaultdict(list)
        for path, volume in images.items():
            for key in self._keys(path):
                self._images[key].append(volume)

    def find(self, path: str, volume: Volume) -> str | None:
        """Return the path of an image of the same case on the same grid, or None."""
        for key in self._keys(path):
            for image in self._images.get(key, ()):
                if image.geometry.same_grid(volume.geometry):
                    return image.path
        return None

    def _keys(self, path: str) -> list[tuple[str, ...]]:
        """Return keys that files of the same case share."""
        case = self._names.get(path)
        if case is not None:
            return [("case", case)]
        file = PurePosixPath(path)
        stem = file.name.split(".")[0]
        # "007_ct" and "007_heart" are one case in a folder of many cases, "ct" and "heart" in a folder of one case.
        within = ("folder", str(file.parent), *re.findall(r"\d\d+", stem))
        # nnU-Net's images end with the number of the channel.
        across = ("name", str(file.parent.parent), re.sub(r"_\d{4}$", "", stem))
        return [within, across]
