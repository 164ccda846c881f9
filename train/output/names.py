"""What the files of predictions are called: after their case, each a name of its own."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from dali_cr.index.volumes import Case
from dali_cr.system.owner import ignores_case
from dali_cr.volume.images import is_image

_LONGEST = 255
"""Bytes of a name."""


def mask_name(case: Case) -> str:
    """Return the name of a case's mask: the case's, with the suffix of an image or a volume.

    A suffix of the case's own that a mask may have is kept, any other is part of the name: so no two cases of a scan
    have masks of one name.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> for name, path, frame in (
    ...     ("a/x.nii.gz", "a/x.nii.gz", 0),
    ...     ("x.nii", "x.nii", 0),
    ...     ("x.nii.gz#1", "x.nii.gz", 1),
    ...     ("1.2.840", "1.2.840/t1.nii.gz", 0),
    ...     ("b.jpg", "b.jpg", 0),
    ... ):
    ...     print(mask_name(Some(name=name, volumes=(Some(path=path, frame=frame),))))
    a/x.nii.gz
    x.nii
    x#1.nii.gz
    1.2.840.nii.gz
    b.jpg.png
    """
    volume = case.volumes[0]
    mark = f"#{volume.frame}"
    stem, frame = (case.name[: -len(mark)], mark) if case.name.endswith(mark) else (case.name, "")
    wanted = (".png",) if is_image(volume.path) else (".nii.gz", ".nii")
    for suffix in wanted:
        if stem.lower().endswith(suffix):
            return stem[: -len(suffix)] + frame + stem[-len(suffix) :]
    return stem + frame + wanted[0]


def picture_name(case: Case) -> str:
    """Return the name of a picture of a case."""
    return mask_name(case).removesuffix(".png").removesuffix(".nii.gz") + ".png"


def probabilities_name(case: Case) -> str:
    """Return the name of the file of a case's probabilities, in a folder of their own."""
    name = mask_name(case)
    return f"probabilities/{name.removesuffix('.png') + '.npz' if is_image(case.volumes[0].path) else name}"


def place_all(names: Iterable[tuple[str, str]], folder: Path) -> dict[str, Path]:
    """Return where outputs go, after looking that no two of them would be one file.

    Parameters
    ----------
    names : iterable of (case, name)
        The name of each case's output, with forward slashes.
    folder : Path

    Returns
    -------
    places : dict of str to Path
        By case.

    Raises
    ------
    ValueError
        Naming two cases whose outputs would be one file, or a case whose output would lie outside of the folder.
    """
    folds = ignores_case(folder)
    owners: dict[str, str] = {}
    places: dict[str, Path] = {}
    for case, name in names:
        _check_name(case, name)
        key = unicodedata.normalize("NFC", name)
        key = key.casefold() if folds else key
        if key in owners or case in places:
            raise ValueError(
                f"out: expected an output of its own for each case, those of {owners.get(key, case)} and {case} would "
                f"both be {name}; rename one, or leave one out with --exclude"
            )
        owners[key] = case
        places[case] = folder / name
    _refuse_files_as_folders(owners)
    return places


def _check_name(case: str, name: str) -> None:
    path = PurePosixPath(name)
    inside = not path.is_absolute() and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name
    if not inside or any(len(os.fsencode(part)) > _LONGEST for part in path.parts):
        raise ValueError(f"out: expected cases with names that can be files of --out, got {case!r}; rename it")


def _refuse_files_as_folders(owners: Mapping[str, str]) -> None:
    for key, case in owners.items():
        for above in PurePosixPath(key).parents:
            if (other := owners.get(str(above))) is not None:
                raise ValueError(
                    f"out: expected an output of its own for each case, that of {other} would be a file where that of "
                    f"{case} needs a folder; rename one, or leave one out with --exclude"
                )
