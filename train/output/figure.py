"""Writing of Matplotlib figures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from dali_cr.index.volumes import Case
from dali_cr.system.atomic import write_whole
from dali_cr.volume.images import is_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Origin = Literal["lower", "upper"]
"""Matplotlib's origin: "lower" for slices of volumes, "upper" for images."""


def origin_of(case: Case) -> Origin:
    """Return the origin of a case's slices."""
    return "upper" if is_image(case.volumes[0].path) else "lower"


def write_figure(figure: Figure, path: Path, **how: Any) -> None:
    """Write a figure atomically in the format of the suffix; `how` is passed to `Figure.savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], **how)
    write_whole(path, buffer.getvalue())


def write_png(picture: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a picture (height, width, 3) as PNG, atomically."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    write_whole(path, buffer.getvalue())
