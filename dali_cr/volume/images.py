"""PNG and JPEG files as volumes one voxel thick: to decode one is to decompress it.

What comes out lies like the content of a NIfTI file without a header: the channels one after the other, each row by
row. A `Geometry` says so, and all that follows (crops, caches, the GPU's decoding of raw numbers) knows no images.

D is 1, H runs downwards and W to the right, as a viewer shows the picture: the orientation in a JPEG's EXIF is
honoured, by strides. There is no anatomical orientation, "XYZ" stands for it, and a voxel counts as 1 mm. Numbers are
those in the file, of fewer than 8 bits spread over 0...255 (`grey_step` takes that back, for labels): colour
profiles and gamma are not applied. Names end on
.png, .jpg or .jpeg.

Pillow decodes, on the CPU for a GPU too: nvJPEG gives other bits, and a cache on the GPU keeps what was decoded once.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import JpegImagePlugin, PngImagePlugin
from PIL.ImageFile import ImageFile

from dali_cr.volume.geometry import Geometry, VolumeError

ORIENTATION = "XYZ"
"""Of a picture: x to the right, y downwards."""

_KINDS = {
    "PNG": (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    "JPEG": (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
}
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "LA": 1, "RGB": 3, "RGBA": 3}
"""Channels of Pillow's modes; an alpha channel is checked and dropped."""

_REFUSED = {"P": "a palette", "PA": "a palette", "CMYK": "CMYK colours", "I": "32-bit numbers"}
_EXIF_ORIENTATION = 0x0112
_BIT_DEPTH_AT = 24
"""Where a PNG says how many bits a number has: in IHDR, which is its first chunk."""

_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)
"""What Pillow raises on files that are damaged."""


def is_image(path: str | Path) -> bool:
    """Whether the file's name is that of a PNG or JPEG image."""
    return Path(path).suffix.lower() in _SUFFIXES


def is_lossy(path: str | Path) -> bool:
    """Whether the file's name is that of an image whose compression changes numbers: they are no labels."""
    return _SUFFIXES.get(Path(path).suffix.lower()) == "JPEG"


def grey_step(path: str | Path, head: bytes) -> int:
    """Return what a PNG's numbers of 1, 2 or 4 bits are multiplied by when they are spread over 0...255.

    Parameters
    ----------
    path : path
        For its suffix.
    head : bytes
        The file's first bytes.

    Returns
    -------
    step : int
        255, 85 or 17; 1 of other images and of what is no image.
    """
    if _SUFFIXES.get(Path(path).suffix.lower()) != "PNG" or len(head) <= _BIT_DEPTH_AT:
        return 1
    bits = head[_BIT_DEPTH_AT]
    return 255 // (2**bits - 1) if bits < 8 else 1


def parse_image(path: Path, file: BinaryIO) -> Geometry:
    """Read an image's header; no pixel is decoded.

    Parameters
    ----------
    path : Path
        The file's name, for messages; its suffix says which kind it should be.
    file : binary file

    Returns
    -------
    geometry : Geometry
        Of what `decode_image` gives.

    Raises
    ------
    VolumeError
        If it is no such image, or one that this package does not read.
    """
    image = _open(path, file)
    width, height = image.size
    turned = _exif_orientation(path, image)
    base, rows, columns = _strides(turned, height, width)
    shown = (width, height) if turned > 4 else (height, width)
    return Geometry(
        dtype="uint16" if image.mode == "I;16" else "uint8",
        big_endian=False,
        data_offset=0,
        shape=(1, *shown),
        base=base,
        strides=(height * width, rows, columns),
        frames=_CHANNELS[image.mode],
        slope=1.0,
        intercept=0.0,
        spacing=(1.0, 1.0, 1.0),
        affine=tuple(tuple(float(i == j) for j in range(4)) for i in range(4)),
        orientation=ORIENTATION,
    )


def decode_image(
    path: Path, packed: memoryview, memory: Callable[[int], memoryview], stop: int | None = None
) -> memoryview:
    """Decode an image.

    Parameters
    ----------
    path : Path
    packed : bytes
        The whole file.
    memory : callable of int
        Returns so many bytes to write to; asked before a pixel is decoded, so that it may refuse.
    stop : int, optional
        How many bytes of the pixels are wanted: a grey PNG is decoded no further than that row. Without it all are, and
        the checksums of a PNG are checked. (A JPEG has none.)

    Returns
    -------
    pixels : (>= stop,) bytes
        Each channel's, row by row: uint8, or little-endian uint16.

    Raises
    ------
    VolumeError
        If it cannot be decoded, or some of it is transparent.
    """
    image = _open(path, io.BytesIO(packed))
    stored = np.dtype("<u2" if image.mode == "I;16" else "u1")
    (width, height), channels = image.size, _CHANNELS[image.mode]
    out = memory(channels * height * width * stored.itemsize)
    try:
        if stop is None:
            _open(path, io.BytesIO(packed)).verify()
        elif image.format == "PNG" and channels == 1 and not image.info.get("interlace"):
            height = min(height, -(-stop // (width * stored.itemsize)))
            _stop_at_row(image, height)
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image).reshape(height, width, -1)
    except _ERRORS as error:
        raise VolumeError(path, f"damaged {image.format}: {error}") from error
    if pixels.shape[2] > channels and pixels[:, :, channels].min() < 255:
        raise VolumeError(path, "is transparent in places: save it without an alpha channel")
    out = out[: channels * height * width * stored.itemsize]
    planes: npt.NDArray[Any] = np.frombuffer(out, stored).reshape(channels, height, width)
    planes[...] = pixels[:, :, :channels].transpose(2, 0, 1)
    return out


def _stop_at_row(image: ImageFile, rows: int) -> None:
    """Let only the first rows be decoded, as Pillow itself changes the size and the tiles of what it drafts."""
    width = image.size[0]
    image._size = (width, rows)
    image.tile = [tile._replace(extents=(0, 0, width, rows)) for tile in image.tile]


def _open(path: Path, file: BinaryIO) -> ImageFile:
    """Open an image of the kind that its suffix says, and refuse what is not read."""
    kind = _SUFFIXES[path.suffix.lower()]
    magic, opener = _KINDS[kind]
    head = file.read(len(magic))
    if head != magic:
        found = next((other for other, (start, _) in _KINDS.items() if (head + file.read(8)).startswith(start)), None)
        raise VolumeError(path, f"its suffix says {kind}, but it is {f'a {found}' if found else 'none'}")
    file.seek(0)
    try:
        # Not PIL.Image.open: it would take other kinds, and its limit of pixels is not ours.
        image: ImageFile = opener(file)
    except _ERRORS as error:
        raise VolumeError(path, f"no {kind} that can be read: {error}") from error
    if reason := _refusal(image):
        raise VolumeError(path, reason)
    return image


def _refusal(image: ImageFile) -> str:
    """Return why an image is not read; empty if it is."""
    if image.mode not in _CHANNELS:
        own = " (labels: save the palette's indices as grey levels)" if image.mode.startswith("P") else ""
        return f"has {_REFUSED.get(image.mode, image.mode)}: grey and RGB are read; convert it{own}"
    if "transparency" in image.info:
        return "has a transparent colour: save it without one"
    if getattr(image, "is_animated", False):
        return "is animated: save its frames one by one"
    # Pillow would drop the lower byte of each number.
    if image.mode != "I;16" and any("16" in str(tile[3]) for tile in image.tile):
        return "has 16 bits a channel: that is read of grey without an alpha channel only"
    return ""


def _exif_orientation(path: Path, image: ImageFile) -> int:
    """Return which of the eight orientations a JPEG is stored in; 1 is as shown."""
    if image.format != "JPEG":
        return 1
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _ERRORS as error:
        raise VolumeError(path, f"EXIF that cannot be read: {error}") from error
    return found if found in range(1, 9) else 1


def _strides(turned: int, height: int, width: int) -> tuple[int, int, int]:
    """Return where the pixel shown at the top left is stored, and the steps to the one below and to the right."""
    down, right = (-width if turned in (3, 4, 6, 7) else width), (-1 if turned in (2, 3, 7, 8) else 1)
    base = (height - 1) * width * (down < 0) + (width - 1) * (right < 0)
    # From 5 on, rows are shown as columns: (along H, along W).
    return (base, right, down) if turned > 4 else (base, down, right)
