"""The JSON documents of a brick store: Zarr v3 group and array, OME's axes, and what dali-cr adds."""

from __future__ import annotations

import base64
import json
from typing import Any

from dali_cr.volume.geometry import Triple, voxel_sizes
from dali_cr.volume.packed.bricks import BRICK_VOXELS, brick_counts
from dali_cr.volume.packed.contents import StoreContents

FORMAT = 1
"""Of the attributes `dali_cr`."""

GROUP, ARRAY, SHARD = "zarr.json", "0/zarr.json", "0/c/0/0/0/0"
"""The entries of a store."""

COMMENT = b'{"ome":{"version":"0.5","zipFile":{"centralDirectory":{"jsonFirst":true}}}}'
"""Of the ZIP file, as NGFF's RFC-9 has it."""


def group_document(contents: StoreContents) -> bytes:
    """Return the group's `zarr.json`."""
    millimetres = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1.0, *voxel_sizes(contents.affine)]}
    image = {
        "name": "0",
        "axes": [{"name": "c", "type": "channel"}, *millimetres],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}, "dali_cr": _attributes(contents)}
    return _dump({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _attributes(contents: StoreContents) -> dict[str, Any]:
    original = contents.original
    return {
        "format": FORMAT,
        "slope": contents.slope,
        "intercept": contents.intercept,
        "affine": contents.affine,
        "orientation": contents.orientation,
        "unit": contents.unit,
        "original": {
            "path": original.path,
            "sha256": original.sha256,
            "size": original.size,
            "mtime_ns": original.mtime_ns,
        },
        "header": base64.b64encode(contents.header).decode(),
        "extensions_left_out": contents.extensions,
    }


def array_document(contents: StoreContents, brick: Triple, level: int, shuffle: bool) -> bytes:
    """Return the array's `zarr.json`: one shard of bricks, each `bytes`, `blosc`, `crc32c`."""
    channels, *shape = contents.voxels.shape
    itemsize = contents.voxels.dtype.itemsize
    whole = [count * edge for count, edge in zip(brick_counts(shape, brick), brick, strict=True)]
    little, checksum = {"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}
    blosc = {
        "typesize": itemsize,
        "cname": "lz4hc",
        "clevel": min(level, 9),
        "shuffle": "shuffle" if shuffle and itemsize > 1 else "noshuffle",
        "blocksize": itemsize * BRICK_VOXELS,
    }
    sharding = {
        "chunk_shape": [1, *brick],
        "codecs": [little, {"name": "blosc", "configuration": blosc}, checksum],
        "index_codecs": [little, checksum],
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


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
