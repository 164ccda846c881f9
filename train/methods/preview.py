"""The picture a run leaves: what the network was given, what it made of it, and what it should have."""

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
    """Draw what is given as rows, and below it the absolute error, one column a sample.

    Parameters
    ----------
    slices : mapping
        The rows from top to bottom, each (n, H, W); with `target` and `restored` among them.
    out : path-like
        The picture.
    origin : "lower" or "upper"
        Where the first row is: a volume's rows run upwards, an image's downwards.
    """
    target = slices["target"]
    error = np.abs(slices["restored"] - target)
    rows = {**slices, "error": error}
    height, width = target.shape[1:]
    figure = Figure(figsize=(2 * len(target) + 0.4, 2 * len(rows) * height / width), layout="constrained")
    axes = figure.subplots(len(rows), len(target), squeeze=False)
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture, clean in zip(row, pictures, target, strict=True):
            # One range for a column: a restored slice may not look better than it is by being stretched.
            low, high = (0, np.ptp(clean) / 2) if name == "error" else (clean.min(), clean.max())
            axis.imshow(picture, cmap="magma" if name == "error" else "gray", vmin=low, vmax=high, origin=origin)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    write_figure(figure, Path(out), dpi=120)
