"""Mosaics of pictures: a row for each kind, a column for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .figure import Origin

Picture = npt.NDArray[np.uint8]
Column = Mapping[str, Picture]
"""Pictures of one sample by kind: (H, W) grey or (H, W, 3)."""

_EDGE = 96
"""Minimum pixels of the shorter edge of a picture, so that its name fits."""

_LINE = 13
"""Pixels between the lines of a caption."""


def to_grey(image: npt.NDArray[np.floating], low: float, high: float) -> Picture:
    """Convert an image to (H, W) uint8, black at `low` and white at `high`; NaN is black.

    Examples
    --------
    >>> to_grey(np.array([[-1.0, 0.0, 1.0, 9.0]]), low=0, high=2).tolist()
    [[0, 0, 128, 255]]
    """
    share = np.nan_to_num((image - low) / (high - low if high > low else 1.0), nan=0.0)
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), np.uint8)


def grey_columns(rows: Mapping[str, npt.NDArray[np.floating]]) -> list[Column]:
    """Return the columns of slices (n, H, W) by kind, each in the range of its "target"."""
    ranges = [(float(one.min()), float(one.max())) for one in rows["target"]]
    return [{name: to_grey(row[place], *ends) for name, row in rows.items()} for place, ends in enumerate(ranges)]


def join(columns: Sequence[Column], origin: Origin, captions: Sequence[Sequence[str]] = ()) -> Picture:
    """Join pictures into one (height, width, 3), with the names of the kinds in the first column.

    Parameters
    ----------
    columns : sequence of mapping
        At least one; all of the same kinds. Pictures of different sizes get black edges.
    origin : "lower" or "upper"
        Position of the first row of each picture.
    captions : sequence of sequence of str, optional
        Lines at the bottom of each column, cut to its width.

    Examples
    --------
    >>> join([{"input": np.zeros((96, 96), np.uint8), "target": np.zeros((96, 96), np.uint8)}] * 3, "upper").shape
    (192, 288, 3)
    """
    shapes = [picture.shape for column in columns for picture in column.values()]
    height, width = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    zoom = max(1, -(-_EDGE // min(height, width)))
    out = np.zeros((len(columns[0]) * height, len(columns) * width, 3), np.uint8)
    for across, column in enumerate(columns):
        for down, picture in enumerate(column.values()):
            flipped = picture[::-1] if origin == "lower" else picture
            coloured = flipped if flipped.ndim == 3 else flipped[..., None]
            top, left = down * height, across * width
            out[top : top + len(picture), left : left + picture.shape[1]] = coloured
    image = Image.fromarray(out.repeat(zoom, 0).repeat(zoom, 1))
    pen = ImageDraw.Draw(image)
    for down, name in enumerate(columns[0]):
        _write(pen, 3, down * height * zoom + 2, name)
    for across, lines in enumerate(captions):
        for number, line in enumerate(reversed(lines), start=1):
            place = across * width * zoom + 3
            _write(pen, place, image.height - number * _LINE, _cut(pen, line, width * zoom - 6))
    return np.asarray(image)


def _write(pen: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    """Write white text with a black edge."""
    pen.text((left, top), text, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))


def _cut(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Return text that is at most this wide in pixels, with dots in place of its end."""
    if pen.textlength(text) <= width:
        return text
    while text and pen.textlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
