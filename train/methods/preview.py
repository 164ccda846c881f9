"""Preview picture of a pre-training run: inputs, restorations, targets and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ..output.figure import Origin, write_figure


def draw_restored(
    slices: Mapping[str, npt.NDArray[np.float32]], out: str | os.PathLike[str], origin: Origin = "lower"
) -> None:
    """Draw rows of slices and, below them, the absolute error, one column per sample.

    Parameters
    ----------
    slices : mapping
        Rows from top to bottom by name, (n, H, W) each; must contain `target` and `restored`.
    out : path-like
        The picture file.
    origin : "lower" or "upper"
        Position of the first image row: "lower" for volumes, whose rows run upwards, "upper" for images.
    """
    target = slices["target"]
    error = np.abs(slices["restored"] - target)
    rows = {**slices, "error": error}
    height, width = target.shape[1:]
    figure = Figure(figsize=(2 * len(target) + 0.4, 2 * len(rows) * height / width), layout="constrained")
    axes = figure.subplots(len(rows), len(target), squeeze=False)
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture, clean in zip(row, pictures, target, strict=True):
            # All rows of a column share the target's grey range, so that contrast differences stay visible.
            low, high = (0, np.ptp(clean) / 2) if name == "error" else (clean.min(), clean.max())
            axis.imshow(picture, cmap="magma" if name == "error" else "gray", vmin=low, vmax=high, origin=origin)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    write_figure(figure, Path(out), dpi=120)
