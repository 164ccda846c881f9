"""Arrange labelled volumes of one channel in the published layout of LiTS or BraTS 2018, to try a recipe on them.

::

    python -m train.recipes.arrange lits --images ct/images --labels ct/labels --values 2=1 1=2 --out runs/spine/LiTS
    python -m train.recipes.arrange brats2018 --images mr/images --labels mr/labels --values 2=2 1=4 --out runs/mr/BraTS

Images are linked, not copied; for BraTS each one stands for all four modalities, and cases are HGG and LGG in turn.
Label volumes are written with the labels that the layout expects. ``sources.csv`` has the image of each case.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("arrange")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import gzip
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import tyro

from dali_cr.system.owner import own_folder

from ..start.command import asked, end, read_arguments
from .folder import find_named, refuse_missing, table, write_all

_MODALITIES = ("t1", "t1ce", "t2", "flair")
_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, kw_only=True)
class ArrangeConfig:
    """Arrange labelled volumes of one channel in the published layout of LiTS or BraTS 2018."""

    layout: tyro.conf.Positional[Literal["lits", "brats2018"]]
    """Data: the layout."""
    images: Path
    """Data: folder of NIfTI images, one of each case, in any subfolders."""
    labels: Path
    """Data: folder of their label volumes, which have the same names."""
    values: tuple[str, ...]
    """Data: OLD=NEW, the label of the layout for each label of the volumes; others become background."""
    out: Path
    """Output: folder in the published layout."""

    def __post_init__(self) -> None:
        """Check the values."""
        self.table()

    def table(self) -> dict[int, int]:
        """Return the new label of each label."""
        pairs = [text.partition("=") for text in self.values]
        if not pairs or not all(old.isdecimal() and new.isdecimal() and int(new) < 256 for old, _, new in pairs):
            raise ValueError(f"values: expected OLD=NEW with numbers, NEW below 256, got {' '.join(self.values)!r}")
        return {int(old): int(new) for old, _, new in pairs}


def relabel(path: Path, values: Mapping[int, int]) -> bytes:
    """Return a label volume with other labels on the same grid, as a compressed NIfTI file.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    try:
        image = nib.Nifti1Image.from_filename(path)
        old = np.asarray(image.dataobj)
    except (OSError, EOFError, nib.filebasedimages.ImageFileError) as error:
        raise ValueError(f"labels: expected a NIfTI file, {path} cannot be read: {error}") from error
    new = np.zeros(old.shape, np.uint8)
    for before, after in values.items():
        new[old == before] = after
    copy = nib.Nifti1Image(new, image.affine)
    copy.header.set_xyzt_units("mm")
    return gzip.compress(copy.to_bytes(), 1, mtime=0)


def place(layout: str, number: int, image: Path) -> tuple[str, str, list[str]]:
    """Return the name of a case, and where the layout has its label volume and its images.

    Examples
    --------
    >>> place("lits", 3, Path("p7.nii"))
    ('volume-3', 'segmentation-3.nii.gz', ['volume-3.nii'])
    """
    suffix = next(suffix for suffix in _SUFFIXES if image.name.endswith(suffix))
    if layout == "lits":
        return f"volume-{number}", f"segmentation-{number}.nii.gz", [f"volume-{number}{suffix}"]
    case = f"Brats18_{image.name.removesuffix(suffix)}_1"
    stem = f"{('HGG', 'LGG')[number % 2]}/{case}/{case}"
    return case, f"{stem}_seg.nii.gz", [f"{stem}_{kind}{suffix}" for kind in _MODALITIES]


def main(config: ArrangeConfig) -> dict[str, Any]:
    """Write the folder and return the number of cases.

    Raises
    ------
    ValueError, OSError
        If a label volume is missing or cannot be read, or the folder cannot be written.
    """
    images, labels = (find_named(one, tuple(f"*{end}" for end in _SUFFIXES)) for one in (config.images, config.labels))
    refuse_missing(["*.nii.gz"] * (not images), f"images in {config.images}", "check --images")
    refuse_missing(images.keys() - labels.keys(), f"a label volume in {config.labels} for each image", "add them")
    values, files, links, sources = config.table(), dict[str, bytes](), dict[str, Path](), []
    for number, name in enumerate(sorted(images)):
        case, label, places = place(config.layout, number, images[name])
        files[label] = relabel(labels[name], values)
        links |= dict.fromkeys(places, images[name])
        sources.append((case, str(images[name])))
    files["sources.csv"] = table(("case", "image"), sources)
    with own_folder(config.out):
        write_all(config.out, files, links)
    return {"out": str(config.out), "cases": len(sources)}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    return end("arrange", lambda: asked(lambda: main(read_arguments(ArrangeConfig, "recipes.arrange", arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
