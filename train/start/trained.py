"""Data options of a training run (patterns, layout, channel names), to read new data in the same way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import dali_cr
from dali_cr.index.layout.csv_files import is_table

from ..run.config.data import DATA, DataSettings
from ..run.folder.config_file import plain
from .restore import restore

Settings = TypeVar("Settings", bound=DataSettings)

WAYS = tuple(name for name in DATA if name not in ("data", "index"))
"""Data settings except the location."""


@dataclass(frozen=True)
class Trained:
    """The data options of a training run."""

    options: Mapping[str, Any]
    """Settings as JSON values from `train.run.folder.config_file.plain`."""
    channel_names: tuple[str, ...] = ()
    """In the order of the network's input; empty if channels have no names."""

    @property
    def about(self) -> dict[str, Any]:
        """The form in which files of weights store it."""
        return {"options": dict(self.options), "channel_names": list(self.channel_names)}


def describe_data(config: DataSettings, index: dali_cr.Index) -> Trained:
    """Return the data options of a run."""
    settings = plain(config)
    options = {name: settings[name] for name in WAYS}
    if index.channels > 1 and index.layout in ("nnunet", "bids"):
        options["layout"] = index.layout  # as detected, since it may not be detectable from a few new cases
    return Trained(options, index.channel_names)


def read_trained(folder: Path, about: Mapping[str, Any]) -> Trained:
    """Return the data options of a run from its file of weights, or for older runs from config.json and index.json."""
    if "data" in about:
        return Trained(about["data"]["options"], tuple(about["data"]["channel_names"]))
    config, index = folder / "config.json", folder / "index.json"
    settings = json.loads(config.read_text())["config"] if config.exists() else {}
    names = dali_cr.Index.load(index).channel_names if index.exists() else ()
    return Trained({name: settings[name] for name in WAYS if name in settings}, names)


def fill_in(config: Settings, trained: Trained) -> Settings:
    """Replace data settings that were not given by those of a training run."""
    if config.index:
        return config
    found = restore(type(config), trained.options, WAYS)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    mine: dict[str, Any] = {name: value for name, value in found.items() if getattr(config, name) == defaults[name]}
    filled = replace(config, **mine)
    if config.pattern or any(is_table(path) for path in config.data):
        filled = replace(filled, layout=config.layout)
    by_name = any("{channel}" in pattern for pattern in filled.pattern) or filled.layout == "bids"
    if not filled.channels and by_name:
        filled = replace(filled, channels=trained.channel_names)
    return filled


def tell_filled(given: DataSettings, filled: DataSettings) -> Iterator[str]:
    """Yield a line for each setting that `fill_in` replaced."""
    before, after = plain(given), plain(filled)
    for name in WAYS:
        if before.get(name) != after.get(name):
            value = after[name]
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            yield f"as trained {name} {text}"


def compare_channels(index: dali_cr.Index, trained: Trained) -> str:
    """Check that channels have the order of the pre-training; return a warning if their names differ.

    Raises
    ------
    ValueError
        With both orders.
    """
    theirs, ours = trained.channel_names, index.channel_names
    if not theirs or not ours or theirs == ours:
        return ""
    both = f"{', '.join(theirs)} in the pre-training, {', '.join(ours)} here"
    if sorted(theirs) == sorted(ours):
        raise ValueError(f"channels: expected the order of the pre-training, got {both}; give --channels")
    return f"channels are named {both}; make sure that each channel is the same kind of image"


def check_channels(index: dali_cr.Index, trained: Trained, channels: int) -> None:
    """Check that the channels are those of the training, in the same order.

    Raises
    ------
    ValueError
        With both lists.
    """
    if index.channels != channels:
        raise ValueError(f"channels: expected {channels}, as in training, got {index.channels}")
    wanted, came = trained.channel_names, index.channel_names
    if not wanted or wanted == came:
        return
    if not came and channels == 1:
        return
    numbers = tuple(f"{number:04}" for number in range(channels))
    if came == numbers and trained.options.get("layout") == "nnunet" and not trained.options.get("channels"):
        return  # nnU-Net's channel numbers refer to the names in the training's dataset.json, in its order
    got = ", ".join(came) or f"{channels} without names"
    advice = "Give --channels in this order"
    if sorted(wanted) != sorted(came):
        advice = "Give a --pattern whose {channel} matches these names, and --channels"
    raise ValueError(f"channels: expected {', '.join(wanted)}, in the order of the training; got {got}. {advice}")
