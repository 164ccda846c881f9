"""The JSON file of an index."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dali_cr.index.corpus.joining import Parts
from dali_cr.index.values.cells import Flags
from dali_cr.index.values.statistics import Statistics
from dali_cr.index.volumes import Case, Problem, Volume
from dali_cr.system.atomic import write_whole
from dali_cr.volume.geometry import Geometry

FORMAT = 6
"""Format version of the file that `Index.save` writes."""

_READ = (3, 4, 5, FORMAT)
"""Formats that `Index.load` reads; 3 has no `Volume.content_sha256`, 3 and 4 have no `Statistics.image_mean`, 3 to 5
have no data sets, modalities and licences."""

_PLAIN = ("path", "data", "frame", "sha256", "content_sha256", "size", "mtime_ns")
"""Fields of a volume that are stored in JSON unchanged."""

_TEXTS = ("dataset", "modality", "licence")
"""Fields of a case that are saved if they are not empty."""


def write_index(path: str | os.PathLike[str], index: Parts) -> None:
    """Write an index; see `Index.save`.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "root": str(index.root),
        "channel_names": list(index.channel_names),
        "cases": list(map(case_to_json, index.cases)),
        "problems": [asdict(problem) for problem in index.problems],
        "set_aside": list(map(volume_to_json, index.set_aside)),
        "ignored": dict(index.ignored),
        "layout": index.layout,
        "datasets": dict(index.datasets),
    }
    write_whole(path, json.dumps(content).encode(), f".{os.getpid()}")


def read_index(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Read the fields of an index; see `Index.load`.

    Raises
    ------
    FileNotFoundError
    ValueError
        If the file is not an index of a supported format.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] not in _READ:
            raise ValueError(f"expected format {' or '.join(map(str, _READ))}, got {content['format']}")
        return {
            "root": Path(root if root is not None else content["root"]),
            "cases": tuple(map(case_from_json, content["cases"])),
            "problems": tuple(Problem(**problem) for problem in content["problems"]),
            "channel_names": tuple(content["channel_names"]),
            "set_aside": tuple(map(volume_from_json, content["set_aside"])),
            "ignored": dict(content.get("ignored", {})),  # missing in indexes of earlier versions, as is layout
            "layout": str(content.get("layout", "")),
            "datasets": dict(content.get("datasets", {})),
        }
    except FileNotFoundError as error:
        raise FileNotFoundError(f"index: expected a file of dali-cr scan --save, {path} does not exist") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected an index of this version ({error}); scan the data again") from error


def case_to_json(case: Case) -> dict[str, Any]:
    """Return a case as JSON values."""
    texts = {name: getattr(case, name) for name in _TEXTS if getattr(case, name)}
    mask = {"mask": volume_to_json(case.mask)} if case.mask else {}
    return {"name": case.name, "volumes": [volume_to_json(volume) for volume in case.volumes], **texts, **mask}


def case_from_json(content: dict[str, Any]) -> Case:
    """Return a case from the JSON values of `case_to_json`."""
    texts = {name: content[name] for name in _TEXTS if name in content}
    mask = volume_from_json(content["mask"]) if "mask" in content else None
    return Case(content["name"], tuple(map(volume_from_json, content["volumes"])), **texts, mask=mask)


def volume_to_json(volume: Volume) -> dict[str, Any]:
    """Return a volume as JSON values."""
    packed = base64.b64encode(zlib.compress(volume.foreground.tobytes())).decode()
    shape = list(volume.foreground.shape)
    content = {name: getattr(volume, name) for name in _PLAIN}
    geometry, statistics = asdict(volume.geometry), asdict(volume.statistics)
    occupied = [np.packbits(flags).tobytes().hex() for flags in volume.occupied]
    foreground = {"shape": shape, "zlib": packed}
    return {**content, "geometry": geometry, "statistics": statistics, "foreground": foreground, "occupied": occupied}


def volume_from_json(content: dict[str, Any]) -> Volume:
    """Return a volume from the JSON values of `volume_to_json`."""
    packed = content.pop("foreground")
    weights = np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib"])), np.uint8)
    geometry = Geometry(**{name: _tuples(value) for name, value in content.pop("geometry").items()})
    d, h, w = map(_unpack_flags, content.pop("occupied"), geometry.shape)
    return Volume(
        geometry=geometry,
        statistics=Statistics(**{name: _tuples(value) for name, value in content.pop("statistics").items()}),
        foreground=weights.reshape(packed["shape"]),
        occupied=(d, h, w),
        **content,
    )


def _unpack_flags(digits: str, length: int) -> Flags:
    """Return flags from their hexadecimal digits."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=length).astype(bool)


def _tuples(value: Any) -> Any:
    """Convert nested lists to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, Iterable) and not isinstance(value, str) else value
