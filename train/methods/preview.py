"""Preview picture of a pre-training run: inputs, restorations, targets and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

from ..output.figure import Origin, write_png
from ..output.mosaic import grey_columns, join, to_grey


def draw_restored(
    slices: Mapping[str, npt.NDArray[np.float32]], out: str | os.PathLike[str], origin: Origin = "lower"
) -> None:
    """Draw rows of slices and, below them, the absolute error, one column per sample.

    All rows of a column share the target's grey range, so that contrast differences stay visible; errors are brightest
    at half of it.

    Parameters
    ----------
    slices : mapping
        Rows from top to bottom by name, (n, H, W) each; must contain `target` and `restored`.
    out : path-like
        The picture file, a PNG.
    origin : "lower" or "upper"
        Position of the first image row: "lower" for volumes, whose rows run upwards, "upper" for images.
    """
    target, errors = slices["target"], np.abs(slices["restored"] - slices["target"])
    columns = [
        {**column, "error": colormaps["magma"](to_grey(error, 0, float(np.ptp(clean)) / 2), bytes=True)[..., :3]}
        for column, error, clean in zip(grey_columns(slices), errors, target, strict=True)
    ]
    write_png(join(columns, origin), Path(out))
