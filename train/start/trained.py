"""What a run's data were: how its files were found and what its channels are called, to read new data alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import dali_cr
from dali_cr.index.layout.csv_files import is_table

from ..run.config import DATA, DataSettings
from ..run.folder import plain
from .restore import restore

Settings = TypeVar("Settings", bound=DataSettings)

WAYS = tuple(name for name in DATA if name not in ("data", "index"))
"""Settings of the data that say how they are read, not where they are."""


@dataclass(frozen=True)
class Trained:
    """How a network's training data were read."""

    options: Mapping[str, Any]
    """The settings, as `train.run.folder.plain` makes them."""
    channel_names: tuple[str, ...] = ()
    """In the order in which the network takes them; empty where they have no names."""

    @property
    def about(self) -> dict[str, Any]:
        """As a file of weights keeps it."""
        return {"options": dict(self.options), "channel_names": list(self.channel_names)}


def describe_data(config: DataSettings, index: dali_cr.Index) -> Trained:
    """Return how the data of a run were read."""
    settings = plain(config)
    options = {name: settings[name] for name in WAYS}
    if index.channels > 1 and index.layout in ("nnunet", "bids"):
        options["layout"] = index.layout  # as recognised: a folder of a few new cases may not show it
    return Trained(options, index.channel_names)


def read_trained(folder: Path, about: Mapping[str, Any]) -> Trained:
    """Return how the data of a run were read, from its weights' file, or of an older run from what lies beside it."""
    if "data" in about:
        return Trained(about["data"]["options"], tuple(about["data"]["channel_names"]))
    config, index = folder / "config.json", folder / "index.json"
    settings = json.loads(config.read_text())["config"] if config.exists() else {}
    names = dali_cr.Index.load(index).channel_names if index.exists() else ()
    return Trained({name: settings[name] for name in WAYS if name in settings}, names)


def fill_in(config: Settings, trained: Trained) -> Settings:
    """Return settings in which those of the data that were not given are the ones of a run."""
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
    """Yield a line for each setting that `fill_in` took from the run."""
    before, after = plain(given), plain(filled)
    for name in WAYS:
        if before.get(name) != after.get(name):
            value = after[name]
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            yield f"as trained {name} {text}"


def compare_channels(index: dali_cr.Index, trained: Trained) -> str:
    """Refuse data with the channels of earlier weights in another order; return a warning where their names differ.

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
        raise ValueError(f"channels: expected them in the order of the pre-training, got {both}; give --channels")
    return f"channels are named {both}: expected the same kind of image in each place"


def check_channels(index: dali_cr.Index, trained: Trained, channels: int) -> None:
    """Refuse data whose channels are not those that a network was trained on, in its order.

    Raises
    ------
    ValueError
        With both lists.
    """
    if index.channels != channels:
        raise ValueError(f"data: expected {channels} channels, as in training, got {index.channels}")
    wanted, came = trained.channel_names, index.channel_names
    if not wanted or wanted == came:
        return
    if not came and channels == 1:
        return
    numbers = tuple(f"{number:04}" for number in range(channels))
    if came == numbers and trained.options.get("layout") == "nnunet" and not trained.options.get("channels"):
        return  # nnU-Net's numbers stand for the names of the training's dataset.json, in its order
    got = ", ".join(came) or f"{channels} without names"
    advice = "Give them in this order with --channels"
    if sorted(wanted) != sorted(came):
        advice = "Name the files with a --pattern whose {channel} stands for these names, and --channels"
    raise ValueError(f"channels: expected {', '.join(wanted)}, in the order of the training; got {got}. {advice}")
