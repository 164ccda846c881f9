"""Reading of a corpus file: the data sets of a pre-training run, with weight, normalisation and spacing of each.

TOML (or JSON of the same shape); paths are relative to the file::

    [datasets.brains]
    path = "brains/"                      # one folder, a list of folders, or a CSV file; or index = "brains.json"
    weight = 2
    normalize = "zscore"
    spacing = [1, 1, 1]
    modality = "MR"
    licence = "CC-BY-4.0"

    [datasets.cts]
    path = "cts/"
    pattern = "**/*.nii.gz"
    weight = 1
    normalize = ["window", -160, 240]
    spacing = "own"
    modality = "CT"

All keys but `path` or `index` are optional. Normalisation and spacing default to those of the command line. Without
weights, all cases are sampled equally often.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import dali_cr
from dali_cr.index.corpus.about import dataset_lines
from dali_cr.index.corpus.joining import check_name
from dali_cr.index.layout.listing import Layout
from dali_cr.index.layout.lists import find_root
from dali_cr.plan.order.mixture import is_weight
from dali_cr.recipe.per_dataset import check_field

from ..data.cases import refuse_changed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LISTS = ("path", "pattern", "channels", "include", "exclude")
"""Keys whose value is a string or a list of strings."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set of a corpus; None stands for the value of the command line."""

    path: tuple[Path, ...] = ()
    index: Path | None = None
    pattern: tuple[str, ...] = ()
    layout: Layout = "auto"
    channels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fourth_axis: Literal["channels", "cases"] = "channels"
    weight: float | None = None
    normalize: Any = None
    spacing: Any = None
    modality: str = ""
    licence: str = ""

    def open(self, known: dali_cr.Index | None) -> dali_cr.Index:
        """Scan the cases or load their index; files unchanged since the index `known` are not read again."""
        if self.index:
            index = dali_cr.Index.load(self.index, find_root(self.path) if self.path else None)
            refuse_changed(index, self.index)
            return index
        how: dict[str, Any] = {name: getattr(self, name) for name in ("layout", "channels", "include", "exclude")}
        return dali_cr.scan(self.path, self.pattern, **how, fourth_axis=self.fourth_axis, known=known)


@dataclass(frozen=True)
class Corpus:
    """The data sets of a run, by name."""

    datasets: Mapping[str, Dataset]

    @property
    def weights(self) -> dict[str, float] | None:
        """Weights for `dali_cr.Loader`; None if there are none."""
        found = {name: one.weight for name, one in self.datasets.items() if one.weight is not None}
        return found or None

    def values(self, name: Literal["normalize", "spacing"], default: Any) -> Any:
        """Return a field of the recipe: one value if all data sets have the same, else by data set."""
        plain = {"none": None, "own": None}
        found = {key: getattr(one, name) for key, one in self.datasets.items()}
        values = {key: default if one is None else plain.get(one, one) for key, one in found.items()}
        first, *others = values.values()
        return first if all(one == first for one in others) else values

    def open(self, known: dali_cr.Index | None = None) -> dali_cr.Index:
        """Return one index of all data sets; files unchanged since the index `known` are not read again."""
        before = {name: known.dataset(name) for name in known.datasets} if known else {}
        indexes: dict[str, dali_cr.Index] = {}
        for name, one in self.datasets.items():
            try:
                indexes[name] = one.open(before.get(name))
            except (ValueError, OSError) as error:
                raise ValueError(f"{name}: {error}") from error
        texts: dict[str, Any] = {
            what: {name: getattr(one, what) for name, one in self.datasets.items()} for what in ("modality", "licence")
        }
        return dali_cr.Index.concat(indexes, **texts)

    def refuse_other(self, earlier: Mapping[str, Any]) -> None:
        """Raise ValueError if the run to resume had other data sets or other settings of them."""
        now: dict[str, Any] = self.content
        if not earlier:
            raise ValueError("resume: expected a run started with --corpus, got one with --data; omit --corpus")
        for name in {**earlier, **now}:
            if name not in now or name not in earlier:
                raise ValueError(f"resume: expected the data sets {', '.join(earlier)}, got {', '.join(now)}")
            for key in ("weight", "normalize", "spacing"):
                if earlier[name].get(key) != now[name][key]:
                    was = earlier[name].get(key)
                    raise ValueError(f"resume: expected {key} {was!r} for {name}, as before, got {now[name][key]!r}")

    @property
    def content(self) -> dict[str, Any]:
        """The data sets as JSON values with absolute paths."""
        found: dict[str, Any] = {name: asdict(one) for name, one in self.datasets.items()}
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return plain

    def describe(self, index: dali_cr.Index, recipe: Any) -> Iterator[str]:
        """Yield a line for each data set: cases, weight, normalisation and spacing."""
        total = sum(self.weights.values()) if self.weights else 0
        for name, line in zip(index.datasets, dataset_lines(index), strict=True):
            weight = self.datasets[name].weight
            share = f"; weight {weight:g}, {100 * weight / total:.3g} % of the samples" if weight is not None else ""
            normalize, spacing = (
                value[name] if isinstance(value, Mapping) else value for value in (recipe.normalize, recipe.spacing)
            )
            size = f"{' × '.join(f'{mm:g}' for mm in spacing)} mm" if spacing else "spacing of the files"
            how = f"window {normalize[1]:g} {normalize[2]:g}" if isinstance(normalize, tuple) else normalize
            yield f"{line}{share}; normalize {how}; {size}"


def read_corpus(path: Path) -> Corpus:
    """Read a corpus file.

    Raises
    ------
    ValueError
        If the file is invalid; the message names the data set and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"corpus: expected a TOML or JSON file, {path} cannot be read: {error}") from error
    tables = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(tables, dict) or not tables or set(content) != {"datasets"}:
        found = ", ".join(content) if isinstance(content, dict) and content else "none"
        raise ValueError(
            f"corpus: expected one table [datasets.NAME] for each data set in {path} and nothing else, got {found}"
        )
    datasets = {}
    for name, table in tables.items():
        try:
            check_name(name)
            datasets[name] = _make(table, path.absolute().parent)
        except (ValueError, TypeError) as error:
            raise ValueError(f"corpus: {name} in {path}: {error}") from error
    weighted = [name for name, one in datasets.items() if one.weight is not None]
    if weighted and len(weighted) < len(datasets):
        missing = next(name for name in datasets if name not in weighted)
        raise ValueError(f"corpus: expected a weight for every data set or for none, {missing} in {path} has none")
    if weighted and not any(one.weight for one in datasets.values()):
        raise ValueError(f"corpus: expected a weight above 0, got 0 for every data set in {path}")
    return Corpus(datasets)


def _make(table: Any, home: Path) -> Dataset:
    """Create a data set from a table.

    Raises
    ------
    ValueError
        If a key is unknown or a value is invalid.
    """
    if not isinstance(table, dict):
        raise ValueError(f"expected a table, got {table!r}")
    known = [one.name for one in fields(Dataset)]
    if unknown := [key for key in table if key not in known]:
        raise ValueError(f"expected the keys {', '.join(known)}, got {unknown[0]!r}")
    if not ("path" in table or "index" in table):
        raise ValueError("expected path or index, got neither")
    values = dict(table)
    for key in _LISTS:
        given = values.get(key, ())
        texts = (given,) if isinstance(given, str) else tuple(given)
        if not all(isinstance(text, str) and text for text in texts):
            raise ValueError(f"{key}: expected a string or a list of strings, got {given!r}")
        values[key] = texts
    values["path"] = tuple(home / one for one in values["path"])
    if "index" in values:
        values["index"] = home / values["index"]
    for key, choices in (("layout", get_args(Layout)), ("fourth_axis", ("channels", "cases"))):
        if key in values and values[key] not in choices:
            raise ValueError(f"{key}: expected one of {', '.join(choices)}, got {values[key]!r}")
    if "weight" in values and not is_weight(values["weight"]):
        raise ValueError(f"weight: expected a finite number of at least 0, got {values['weight']!r}")
    for key in ("modality", "licence"):
        if not isinstance(values.get(key, ""), str):
            raise ValueError(f"{key}: expected a string, got {values[key]!r}")
    for key, word in (("normalize", "none"), ("spacing", "own")):
        if key in values and values[key] != word:
            if isinstance(values[key], dict):
                raise ValueError(f"{key}: expected one value, got {values[key]!r}")
            values[key] = check_field(key, values[key])
    return Dataset(**values)
