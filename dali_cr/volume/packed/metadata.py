"""Write and parse the JSON documents of a brick store: Zarr v3 group and array, OME axes, dali-cr attributes."""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import asdict
from typing import Any

from dali_cr.volume.geometry import DTYPES, Triple, voxel_sizes
from dali_cr.volume.packed.bricks import BRICK_VOXELS, brick_counts
from dali_cr.volume.packed.codec import Coding
from dali_cr.volume.packed.contents import Description, Original, StoreContents

FORMAT = 1
"""Format version of the attributes `dali_cr`."""

GROUP, ARRAY, SHARD = "zarr.json", "0/zarr.json", "0/c/0/0/0/0"
"""Names of the entries in the ZIP file."""

COMMENT = b'{"ome":{"version":"0.5","zipFile":{"centralDirectory":{"jsonFirst":true}}}}'
"""Comment of the ZIP file, as in NGFF's RFC-9."""

_LITTLE, _CHECKSUM = {"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}


def group_document(description: Description) -> bytes:
    """Return the group's `zarr.json`."""
    millimetres = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1.0, *voxel_sizes(description.affine)]}
    image = {
        "name": "0",
        "axes": [{"name": "c", "type": "channel"}, *millimetres],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    own = {
        "format": FORMAT,
        "slope": description.slope,
        "intercept": description.intercept,
        "affine": description.affine,
        "orientation": description.orientation,
        "unit": description.unit,
        "original": asdict(description.original),
        "header_zlib": base64.b64encode(zlib.compress(description.header, 9)).decode(),
        "extensions_left_out": description.extensions,
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}, "dali_cr": own}
    return _dump({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def parse_group(text: bytes) -> Description:
    """Parse a group's `zarr.json`.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it was not written by `pack`, or by a newer version.
    """
    attributes = json.loads(text).get("attributes", {})
    if "dali_cr" not in attributes:
        raise ValueError("expected attributes of dali_cr, got none: a store of another program, of unknown orientation")
    own = attributes["dali_cr"]
    if own["format"] != FORMAT:
        raise ValueError(f"expected attributes of format {FORMAT}, got {own['format']}; update dali-cr, or pack again")
    packed = base64.b64decode(own["header_zlib"], validate=True)
    original = Original(**{name: _typed(own["original"][name], kind) for name, kind in _ORIGINAL.items()})
    return Description(
        affine=tuple(tuple(map(float, row)) for row in own["affine"]),
        original=original,
        slope=float(own["slope"]),
        intercept=float(own["intercept"]),
        orientation=_typed(own["orientation"], str),
        unit=_typed(own["unit"], str),
        header=zlib.decompressobj().decompress(packed, 541),
        extensions=_typed(own["extensions_left_out"], int),
    )


_ORIGINAL = {"path": str, "sha256": str, "size": int, "mtime_ns": int}


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def array_document(contents: StoreContents, brick: Triple, coding: Coding) -> bytes:
    """Return the array's `zarr.json`: one shard of bricks, each `bytes`, `blosc`, `crc32c`."""
    channels, *shape = contents.voxels.shape
    itemsize = contents.voxels.dtype.itemsize
    whole = [count * edge for count, edge in zip(brick_counts(shape, brick), brick, strict=True)]
    blosc = {
        "typesize": itemsize,
        "cname": coding.name,
        "clevel": min(coding.level, 9),
        "shuffle": "shuffle" if coding.shuffle else "noshuffle",
        "blocksize": itemsize * BRICK_VOXELS,
    }
    sharding = {
        "chunk_shape": [1, *brick],
        "codecs": [_LITTLE, {"name": "blosc", "configuration": blosc}, _CHECKSUM],
        "index_codecs": [_LITTLE, _CHECKSUM],
        "index_location": "end",
    }
    return _dump(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [channels, *shape],
            "data_type": contents.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [channels, *whole]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0.0 if contents.voxels.dtype.kind == "f" else 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": {},
            "dimension_names": ["c", "z", "y", "x"],
        }
    )


def parse_array(text: bytes) -> tuple[str, tuple[int, int, int, int], Triple]:
    """Parse an array's `zarr.json`.

    Returns
    -------
    dtype : str
    shape : (C, D, H, W) int
    brick : (3,) int

    Raises
    ------
    ValueError, TypeError, KeyError
        If the layout is not the one that `pack` writes.
    """
    array = json.loads(text)
    dtype, (c, d, h, w) = array["data_type"], array["shape"]
    (sharding,) = array["codecs"]
    layout = sharding["configuration"]
    one, *brick = layout["chunk_shape"]
    numbers = (c, d, h, w, one, *brick)
    if not all(type(n) is int and 0 < n < 2**31 for n in numbers) or c * d * h * w > 2**46:
        raise ValueError(f"expected a valid shape and brick, got {array['shape']} in bricks of {layout['chunk_shape']}")
    counts = brick_counts((d, h, w), (brick[0], brick[1], brick[2]))
    shard = [c, *(count * edge for count, edge in zip(counts, brick, strict=True))]
    fill = array["fill_value"]
    expected = {
        "dtype": dtype in DTYPES,
        "grid": array["chunk_grid"] == {"name": "regular", "configuration": {"chunk_shape": shard}},
        "keys": array["chunk_key_encoding"] in _KEYS,
        "fill value": fill == 0 and math.copysign(1, fill) > 0,
        "brick": one == 1 and math.prod(brick) == BRICK_VOXELS,
        "sharding": sharding["name"] == "sharding_indexed" and layout.get("index_location", "end") == "end",
        "codecs": _names(layout["codecs"]) == ["bytes", "blosc", "crc32c"],
        "index": _names(layout["index_codecs"]) == ["bytes", "crc32c"],
    }
    if other := ", ".join(name for name, same in expected.items() if not same):
        raise ValueError(f"expected the layout that pack writes, got another one in: {other}")
    return dtype, (c, d, h, w), (brick[0], brick[1], brick[2])


_KEYS = ({"name": "default", "configuration": {"separator": "/"}}, {"name": "default"})


def _names(codecs: list[dict[str, Any]]) -> list[str]:
    """Return the names of codecs; the empty name for a codec that stores big-endian numbers."""
    return [codec["name"] * (codec.get("configuration", {}).get("endian", "little") == "little") for codec in codecs]


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
