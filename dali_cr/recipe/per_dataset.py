"""`PerDataset`: a field of a recipe with a value for each data set of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from dali_cr.index.cases import Index
from dali_cr.recipe.checks import Normalize, check_normalize, check_spacing
from dali_cr.recipe.convert import as_floats, as_python
from dali_cr.volume.grid import Spacing

Value = TypeVar("Value")

Normalizes = Normalize | Mapping[str, Normalize]
"""One normalisation, or one for each data set."""

Spacings = Spacing | None | Mapping[str, Spacing | None]
"""One spacing, or one for each data set; None for the volume's own."""

FIELDS: dict[str, Callable[[object], None]] = {"normalize": check_normalize, "spacing": check_spacing}
"""Fields of recipes that may have a value for each data set, with the functions that check a value."""


class PerDataset(dict[str, Value]):
    """Values by name of data set, sorted; immutable.

    Examples
    --------
    >>> PerDataset({"cts": ("window", -160, 240), "brains": "zscore"})
    {'brains': 'zscore', 'cts': ('window', -160, 240)}
    """

    def __init__(self, values: Any) -> None:
        super().__init__(sorted(dict(values).items()))

    def __hash__(self) -> int:  # type: ignore[override]  # recipes are hashable
        return hash(tuple(self.items()))


def check_field(name: str, value: object) -> Any:
    """Return a field with lists as tuples, numbers as floats, and a mapping as `PerDataset`.

    Parameters
    ----------
    name : "normalize" or "spacing"
    value : object

    Raises
    ------
    ValueError
        If the value is neither valid for the field nor a mapping of valid values.
    """
    check = FIELDS[name]
    if not isinstance(value, Mapping):
        value = as_python(value)
        check(value)
        return as_floats(value)
    if not value or not all(isinstance(dataset, str) and dataset for dataset in value):
        raise ValueError(f"{name}: expected a value by the name of each data set, got {dict(value)!r}")
    values = {dataset: as_python(one) for dataset, one in value.items()}
    for dataset, one in values.items():
        try:
            check(one)
        except ValueError as error:
            raise ValueError(f"{dataset}: {error}") from error
    return PerDataset({dataset: as_floats(one) for dataset, one in values.items()})


def normalize_of(normalize: Normalizes, dataset: str) -> Normalize:
    """Return the normalisation of a data set."""
    return normalize[dataset] if isinstance(normalize, Mapping) else normalize


def spacing_of(spacing: Spacings, dataset: str) -> Spacing | None:
    """Return the spacing to which volumes of a data set are resampled; None for no resampling."""
    return spacing[dataset] if isinstance(spacing, Mapping) else spacing


def values_of(value: Normalizes | Spacings) -> list[Any]:
    """Return the values of a field; one if it is the same for all data sets."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def is_resampled(spacing: Spacings) -> bool:
    """Whether volumes of any data set are resampled."""
    return any(one is not None for one in values_of(spacing))


def parts_of(index: Index, value: Normalizes) -> Iterator[tuple[str, Index, Any]]:
    """Yield name, cases and value of each data set; without a mapping an empty name, all cases and the value."""
    if not isinstance(value, Mapping):
        yield "", index, value
        return
    for dataset, one in value.items():
        if any(case.dataset == dataset for case in index.cases):
            yield dataset, index.subset(lambda case, dataset=dataset: case.dataset == dataset), one  # type: ignore[misc]


def check_datasets(recipe: Any, index: Index) -> None:
    """Raise ValueError unless fields with values by data set have one for each data set of an index, and no others.

    Parameters
    ----------
    recipe : Recipe
    index : Index
    """
    for name in FIELDS:
        value = getattr(recipe, name)
        if not isinstance(value, Mapping):
            continue
        if not index.datasets:
            raise ValueError(
                f"{name}: expected one value for an index without data sets, got values for {', '.join(value)}; join "
                "data sets with Index.concat"
            )
        known = ", ".join(index.datasets)
        if missing := [dataset for dataset in index.datasets if dataset not in value]:
            raise ValueError(f"{name}: expected a value for each of the data sets {known}, got none for {missing[0]}")
        if unknown := [dataset for dataset in value if dataset not in index.datasets]:
            raise ValueError(f"{name}: expected the data sets {known}, got {unknown[0]!r}")
