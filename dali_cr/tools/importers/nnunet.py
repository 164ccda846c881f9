"""Import nnU-Net's preprocessed arrays (.b2nd) with Blosc2, with the spacing of the plans; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dali_cr.extras import FORMATS_HINT, load_format
from dali_cr.tools.importers.axes import NO_ANATOMY, unplaced
from dali_cr.tools.importers.formats import SUFFIXES
from dali_cr.tools.importers.item import Item, hash_files, item_of_files
from dali_cr.volume.geometry import DTYPES, Triple, VolumeError
from dali_cr.volume.grid import Spacing, is_spacing
from dali_cr.volume.packed.contents import StoreContents

(_SUFFIX,) = SUFFIXES["b2nd"]
_LABEL = "_seg.b2nd"


@dataclass(frozen=True)
class Planned:
    """Spacing and order of axes of the arrays of one folder, from nnU-Net's plans.

    Attributes
    ----------
    spacing : list of float
        Spacing in mm along the axes of the arrays; two numbers for a 2-D configuration.
    order : (3,) int
        Axes of the arrays for D, H and W.
    """

    spacing: list[float]
    order: Triple


def find_plans(folder: Path, plans: Path | None) -> Planned | None:
    """Find the configuration of a folder of arrays.

    Parameters
    ----------
    folder : Path
        Folder whose name is the `data_identifier` of a configuration.
    plans : Path, optional
        nnU-Net's plans. Default: the JSON files next to the folder.

    Raises
    ------
    VolumeError
        If the plans cannot be read.
    """
    for file in [plans] if plans else sorted(folder.parent.glob("*.json")):
        content = _read_json(file)
        for configuration in _configurations(content):
            if configuration.get("data_identifier") == folder.name:
                backward = content.get("transpose_backward", [0, 1, 2])
                if sorted(backward) != [0, 1, 2]:
                    raise VolumeError(file, f"transpose_backward: expected a permutation of 0, 1 and 2, got {backward}")
                return Planned(configuration.get("spacing", []), (backward[0], backward[1], backward[2]))
    return None


def _configurations(plans: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configurations of plans with inherited values; nothing if the content is not plans."""
    known = plans.get("configurations")
    known = known if isinstance(known, dict) else {}
    for configuration in known.values():
        whole, seen = dict(configuration), 0
        while (parent := known.get(whole.pop("inherits_from", None))) and seen < len(known):
            whole, seen = {**parent, **whole}, seen + 1
        yield whole


def find_b2nd(top: Path, path: str, spacing: Spacing | None, plans_of: Callable[[Path], Planned | None]) -> Item:
    """Return the item of a preprocessed array.

    Parameters
    ----------
    top : Path
    path : str
        Path relative to `top`.
    spacing : (3,) float, optional
        Spacing in mm along (D, H, W). Default: from the plans.
    plans_of : callable of Path
        Returns the plans of a folder; see `find_plans`.

    Raises
    ------
    VolumeError
        If it contains labels, or the spacing is unknown.
    """
    if path.endswith(_LABEL) and (top / f"{path.removesuffix(_LABEL)}{_SUFFIX}").exists():
        raise VolumeError(path, "labels of nnU-Net")
    folder = (top / path).parent
    planned = plans_of(folder)
    order = planned.order if planned else (0, 1, 2)
    if spacing is None:
        if not planned:
            raise VolumeError(
                path, f"spacing: no plans have the data_identifier {folder.name}; give --plans or --spacing"
            )
        spacing = _spacing(path, planned)
    read = partial(read_b2nd, spacing=spacing, order=order)
    return item_of_files(top, [path], read, unplaced(spacing))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VolumeError(file, f"plans that cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _spacing(path: str, planned: Planned) -> Spacing:
    """Return the spacing of the plans along (D, H, W)."""
    if len(planned.spacing) == 2:
        raise VolumeError(path, "2-D configuration: its plans have no spacing between slices; give --spacing D H W")
    if not is_spacing(tuple(planned.spacing)):
        raise VolumeError(path, f"spacing of the plans: expected three positive numbers, got {planned.spacing}")
    d, h, w = (float(planned.spacing[axis]) for axis in planned.order)
    return d, h, w


def read_b2nd(top: Path, item: Item, spacing: Spacing, order: Triple) -> StoreContents:
    """Read a Blosc2 array (C, ...), with its axes reordered to (D, H, W) of the original file.

    Parameters
    ----------
    top : Path
    item : Item
    spacing : (3,) float
        Spacing in mm along (D, H, W).
    order : (3,) int
        Axes of the array for D, H and W.

    Raises
    ------
    VolumeError
        If it is not an array of real numbers with four axes.
    """
    path = top / item.source
    array = _load(path)
    if array.ndim != 4 or not array.size or array.dtype.newbyteorder("=").name not in DTYPES:
        raise VolumeError(path, f"expected real numbers (C, D, H, W), got {array.dtype} {array.shape}")
    voxels = array.transpose(0, *(axis + 1 for axis in order))
    original = item.original(hash_files([path]))
    return StoreContents(voxels=voxels, affine=unplaced(spacing), original=original, orientation=NO_ANATOMY)


def _load(path: Path) -> np.ndarray[Any, Any]:
    """Decompress an array, without running code or opening other files."""
    blosc2 = load_format("blosc2")
    if not hasattr(blosc2, "UnsafeDeserializationError"):
        raise ImportError(f"blosc2: expected 4.14.1 or newer, got {blosc2.__version__}; {FORMATS_HINT}")
    try:
        # One thread, because volumes are imported in parallel.
        found = blosc2.open(str(path), mode="r", deserialize="safe", dparams={"nthreads": 1})
        if not isinstance(found, blosc2.NDArray):
            raise VolumeError(path, f"expected an array, got a {type(found).__name__}")
        return np.asarray(found[...])
    except (RuntimeError, ValueError, OSError, TypeError, KeyError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError(path, f"Blosc2 cannot read it: {error}") from error
