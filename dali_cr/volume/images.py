"""Read PNG and JPEG files as volumes that are one voxel thick.

Decoded pixels are laid out like the content of a NIfTI file without a header: channel after channel, row by row. They
are described by a `Geometry`, so crops, caches and the GPU's decoding handle them like any other volume.

D is 1, H runs downwards and W to the right, as a viewer shows the image; the EXIF orientation of a JPEG is applied
through strides. There is no anatomical orientation ("XYZ"), and the voxel size is 1 mm. Pixel values are those in the
file, without colour profiles or gamma. Grey levels of 1, 2 or 4 bits are scaled to 0...255 (`grey_step` is the factor,
which labels undo). The suffix must be .png, .jpg or .jpeg.

Pillow decodes on the CPU, also for a GPU: nvJPEG returns other bits, and a cache on the GPU keeps decoded images.
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
"""Orientation of images: x to the right, y downwards."""

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
"""Offset of the bit depth in a PNG: in IHDR, its first chunk."""

_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)
"""Exceptions that Pillow raises on damaged files."""


def is_image(path: str | Path) -> bool:
    """Whether a file name has the suffix of a PNG or JPEG image."""
    return Path(path).suffix.lower() in _SUFFIXES


def is_lossy(path: str | Path) -> bool:
    """Whether a file name has the suffix of a lossy image format, which cannot store labels."""
    return _SUFFIXES.get(Path(path).suffix.lower()) == "JPEG"


def grey_step(path: str | Path, head: bytes) -> int:
    """Return the factor that scales grey levels of 1, 2 or 4 bits to 0...255.

    Parameters
    ----------
    path : path
        Only its suffix is used.
    head : bytes
        The first bytes of the file.

    Returns
    -------
    step : int
        255, 85 or 17; 1 for other images and other files.
    """
    if _SUFFIXES.get(Path(path).suffix.lower()) != "PNG" or len(head) <= _BIT_DEPTH_AT:
        return 1
    bits = head[_BIT_DEPTH_AT]
    return 255 // (2**bits - 1) if bits < 8 else 1


def parse_image(path: Path, file: BinaryIO) -> Geometry:
    """Read the header of an image without decoding pixels.

    Parameters
    ----------
    path : Path
        File name, for messages and for the expected format.
    file : binary file

    Returns
    -------
    geometry : Geometry
        Geometry of the pixels that `decode_image` returns.

    Raises
    ------
    VolumeError
        If it is not an image of that format, or not a supported one.
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
        Content of the whole file.
    memory : callable of int
        Returns a buffer of the given size; called before pixels are decoded, so it may raise an error.
    stop : int, optional
        Number of pixel bytes to decode; a grey PNG is decoded only up to that row. Default: decode the whole image, and
        check the checksums of a PNG (a JPEG has none).

    Returns
    -------
    pixels : (>= stop,) bytes
        Channel after channel, row by row: uint8 or little-endian uint16.

    Raises
    ------
    VolumeError
        If it cannot be decoded or has transparent pixels.
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
        raise VolumeError(path, "has transparent pixels: save it without an alpha channel")
    out = out[: channels * height * width * stored.itemsize]
    planes: npt.NDArray[Any] = np.frombuffer(out, stored).reshape(channels, height, width)
    planes[...] = pixels[:, :, :channels].transpose(2, 0, 1)
    return out


def _stop_at_row(image: ImageFile, rows: int) -> None:
    """Limit decoding to the first rows, by changing size and tiles as Pillow's own draft mode does."""
    width = image.size[0]
    image._size = (width, rows)
    image.tile = [tile._replace(extents=(0, 0, width, rows)) for tile in image.tile]


def _open(path: Path, file: BinaryIO) -> ImageFile:
    """Open an image of the format that its suffix names; raise VolumeError if it is not supported."""
    kind = _SUFFIXES[path.suffix.lower()]
    magic, opener = _KINDS[kind]
    head = file.read(len(magic))
    if head != magic:
        found = next((other for other, (start, _) in _KINDS.items() if (head + file.read(8)).startswith(start)), None)
        raise VolumeError(path, f"expected {kind}, as its suffix says, got {found or 'another format'}")
    file.seek(0)
    try:
        # Not PIL.Image.open, which accepts other formats and limits the number of pixels.
        image: ImageFile = opener(file)
    except _ERRORS as error:
        raise VolumeError(path, f"{kind} that cannot be read: {error}") from error
    if reason := _refusal(image):
        raise VolumeError(path, reason)
    return image


def _refusal(image: ImageFile) -> str:
    """Return the reason why an image is not supported; empty if it is."""
    if image.mode not in _CHANNELS:
        hint = " (labels: save the palette's indices as grey levels)" if image.mode.startswith("P") else ""
        return f"has {_REFUSED.get(image.mode, image.mode)}: expected grey or RGB; convert it{hint}"
    if "transparency" in image.info:
        return "has a transparent colour: save it without one"
    if getattr(image, "is_animated", False):
        return "is animated: save its frames one by one"
    # Pillow would drop the lower byte of each number.
    if image.mode != "I;16" and any("16" in str(tile[3]) for tile in image.tile):
        return "has 16 bits per channel: supported only for grey without an alpha channel"
    return ""


def _exif_orientation(path: Path, image: ImageFile) -> int:
    """Return the EXIF orientation of a JPEG, 1 to 8; 1 means stored as displayed."""
    if image.format != "JPEG":
        return 1
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _ERRORS as error:
        raise VolumeError(path, f"EXIF that cannot be read: {error}") from error
    return found if found in range(1, 9) else 1


def _strides(turned: int, height: int, width: int) -> tuple[int, int, int]:
    """Return the element of the top left pixel as displayed, and the steps to the pixels below and to the right."""
    down, right = (-width if turned in (3, 4, 6, 7) else width), (-1 if turned in (2, 3, 7, 8) else 1)
    base = (height - 1) * width * (down < 0) + (width - 1) * (right < 0)
    # Orientations 5 to 8 display stored rows as columns.
    return (base, right, down) if turned > 4 else (base, down, right)
