"""Classes of label volumes: their names, their label values and the values in written masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dali_cr.index.label_names import refuse_lookalikes
from dali_cr.index.layout.dataset_json import DatasetJson, find_dataset_json, read_dataset_json

Found = Mapping[str, Mapping[str, Sequence[int]]]
"""Label values, including 0, in each case's volume, by part of the split and case."""


@dataclass(frozen=True)
class Classes:
    """Disjoint classes, or regions that may overlap.

    Attributes
    ----------
    members : dict of str to list of int
        Label values by name.
    values : list of int
        The value of each class in written masks.
    regions : bool
    notes : tuple of str
        Lines about the source of the names and about named classes without cases.
    """

    members: dict[str, list[int]]
    values: list[int]
    regions: bool = False
    notes: tuple[str, ...] = ()


def find_names(typed: Path | None, labels: Path, data: Sequence[Path]) -> DatasetJson | None:
    """Return the names of labels, from --names or from a `dataset.json` beside labels or images.

    Raises
    ------
    ValueError
        If the file names no labels.
    """
    path = typed or find_dataset_json([labels, *data])
    try:
        named = read_dataset_json(path) if path else None
    except ValueError as error:
        raise ValueError(f"names: {error}" + ("" if typed else "; give another file with --names")) from error
    if typed and named and not named.labels:
        raise ValueError(f'names: expected JSON as {{"1": "liver"}}, got {typed}, which names no label')
    return named


def find_classes(found: Found, named: DatasetJson | None, regions: Sequence[str] = ()) -> Classes:
    """Return the classes of the label volumes.

    Parameters
    ----------
    found : mapping
    named : DatasetJson, optional
    regions : sequence of str
        From the command line, such as "tumour=1+2+4"; they override those of `named`.

    Raises
    ------
    ValueError
        If a class of val or test is not in train, a region cannot be written, or labels have an ignore value.
    """
    train = {value for values in found["train"].values() for value in values} - {0}
    if not train:
        raise ValueError("labels: expected a labelled voxel in some case of train, got none")
    everywhere = {value for part in found.values() for values in part.values() for value in values} - {0}
    if named and named.ignore in everywhere:
        raise ValueError(
            f"labels: expected annotated voxels only, label {named.ignore} is the ignore label of {named.path}, which "
            "is not supported; --names with another file makes it a class"
        )
    if regions:
        _check_train(found, {str(value): [value] for value in train})
        return typed_regions(regions, sorted(train))
    declared = {name: list(values) for name, values in named.classes.items()} if named else {}
    unnamed = sorted(everywhere - {value for values in declared.values() for value in values})
    if unnamed and named and named.regions:
        raise ValueError(
            f"labels: expected labels of a region of {named.path}, got {unnamed[0]}; give another file with --names"
        )
    wanted = _in_order(declared, unnamed, named)
    refuse_lookalikes(wanted)
    members = {name: values for name, values in wanted.items() if not everywhere.isdisjoint(values)}
    _check_train(found, members)
    order = dict(zip(declared, named.order, strict=False)) if named else {}
    if named and named.regions:
        written = [order[name] for name in members] if order else written_values(members)
        return Classes(members, written, True, _notes(named, wanted, members, written))
    written = [min(values) for values in members.values()]
    return Classes(members, written, notes=_notes(named, wanted, members, written))


def _in_order(
    declared: Mapping[str, list[int]], unnamed: Sequence[int], named: DatasetJson | None
) -> dict[str, list[int]]:
    """Return classes sorted by their smallest label; regions keep the order of their file."""
    wanted = {**declared, **{f"label {value}": [value] for value in unnamed}}
    if len(wanted) < len(declared) + len(unnamed):
        strange = next(value for value in unnamed if f"label {value}" in declared)
        raise ValueError(
            f"names: expected another name for {declared[f'label {strange}']}: label {strange}, which has no name, "
            "gets it"
        )
    if named and named.regions:
        return wanted
    return dict(sorted(wanted.items(), key=lambda item: min(item[1])))


def _check_train(found: Found, members: Mapping[str, Sequence[int]]) -> None:
    """Check that every class of val and test is in train."""
    train = {value for values in found["train"].values() for value in values}
    missing = {value for values in members.values() if train.isdisjoint(values) for value in values}
    known = {value for values in members.values() for value in values}
    for part, cases in found.items():
        for case, values in cases.items():
            if strange := sorted((set(values) - {0}) & missing or set(values) - {0} - known):
                raise ValueError(
                    f"labels: expected every class in train, label {strange[0]} is in {case} of {part} and in no case "
                    "of train"
                )


def _notes(
    named: DatasetJson | None,
    wanted: Mapping[str, Sequence[int]],
    members: Mapping[str, Sequence[int]],
    written: list[int],
) -> tuple[str, ...]:
    """Return lines about the names and about classes without cases."""
    if not named or not named.classes:
        return ()
    kind = "regions" if named.regions else "names"
    listed = ", ".join(f"{name}={'+'.join(map(str, values))}" for name, values in members.items())
    if named.regions:
        listed += f", written as {', '.join(map(str, written))}"
    absent = [name for name in wanted if name not in members]
    notes = [f"{kind} of {named.path}: {listed}"]
    return (*notes, f"in no case: {', '.join(absent)}") if absent else tuple(notes)


def typed_regions(texts: Sequence[str], values: Sequence[int]) -> Classes:
    """Return the regions of --regions.

    Raises
    ------
    ValueError
        If a region is invalid or has labels that are not in train, two have one name, or narrower ones come first.
    """
    parsed = [_parse_region(text, values) for text in texts]
    refuse_lookalikes([name for name, _ in parsed])
    members = dict(parsed)
    return Classes(members, written_values(members), regions=True)


def _parse_region(text: str, values: Sequence[int]) -> tuple[str, list[int]]:
    """Parse "tumour=1+2+4" or "1+2+4"."""
    name, _, numbers = text.rpartition("=")
    try:
        members = [int(number) for number in numbers.split("+")]
    except ValueError as error:
        raise ValueError(f"regions: expected labels as tumour=1+2+4, got {text!r}") from error
    missing = sorted(set(members) - set(values))
    if missing:
        raise ValueError(f"regions: expected labels of train, {list(values)}; got {missing[0]} in {text!r}")
    return name or numbers, members


def written_values(members: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the value of each region in written masks: its smallest label that no later region has.

    Raises
    ------
    ValueError
        If a region has no such label.
    """
    own, rows = [], list(members.items())
    for place, (name, values) in enumerate(rows):
        rest = sorted(set(values) - {value for _, later in rows[place + 1 :] for value in later})
        if not rest:
            raise ValueError(
                f"regions: expected larger regions before the smaller ones inside them, every label of {name} is also "
                "in a later region"
            )
        own.append(rest[0])
    return own
