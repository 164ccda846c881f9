"""File names of predictions, derived from the names of cases, without collisions."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from dali_cr.index.volumes import Case
from dali_cr.system.owner import ignores_case
from dali_cr.volume.images import is_image

_LONGEST = 255
"""Maximum length of a file name in bytes."""


def mask_name(case: Case) -> str:
    """Return the name of a case's mask: the case's name with the suffix of an image or a volume.

    A suffix that is valid for a mask is kept; any other becomes part of the name, so that names do not collide.

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
    """Return the name of a case's picture."""
    return mask_name(case).removesuffix(".png").removesuffix(".nii.gz") + ".png"


def probabilities_name(case: Case) -> str:
    """Return the name of a case's file of probabilities, in the folder `probabilities`."""
    name = mask_name(case)
    return f"probabilities/{name.removesuffix('.png') + '.npz' if is_image(case.volumes[0].path) else name}"


def place_all(names: Iterable[tuple[str, str]], folder: Path) -> dict[str, Path]:
    """Return the paths of outputs, after checking that they are distinct and inside the folder.

    Parameters
    ----------
    names : iterable of (case, name)
        Name of the output of each case, with forward slashes.
    folder : Path

    Returns
    -------
    places : dict of str to Path
        Paths by case.

    Raises
    ------
    ValueError
        Naming two cases with the same output file, or a case whose output is outside of the folder.
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
                f"out: expected a different output file for each case, {owners.get(key, case)} and {case} both have "
                f"{name}; rename one, or exclude one with --exclude"
            )
        owners[key] = case
        places[case] = folder / name
    _refuse_files_as_folders(owners)
    return places


def _check_name(case: str, name: str) -> None:
    path = PurePosixPath(name)
    inside = not path.is_absolute() and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name
    if not inside or any(len(os.fsencode(part)) > _LONGEST for part in path.parts):
        raise ValueError(f"out: expected case names that are valid file names, got {case!r}; rename it")


def _refuse_files_as_folders(owners: Mapping[str, str]) -> None:
    for key, case in owners.items():
        for above in PurePosixPath(key).parents:
            if (other := owners.get(str(above))) is not None:
                raise ValueError(
                    f"out: expected a different output file for each case, the file of {other} has the path of the "
                    f"folder of {case}; rename one, or exclude one with --exclude"
                )
