"""Test that `Views` checks its fields when it is created."""

from dataclasses import fields, replace

import pytest

import dali_cr
from dali_cr import Swap, Views

FLAT = {"shape": (1, 64, 64), "local_shape": (1, 32, 32), "area": (0.3, 1), "local_area": (0.1, 0.3), "swap": Swap(0)}


def test_defaults_are_the_authors() -> None:
    recipe = Views()
    assert recipe.shape == (32, 64, 64)
    assert set(recipe.sizes) == {(64, 96, 96), (96, 96, 96), (64, 112, 112), (32, 64, 64)}
    assert set(recipe.local_sizes) == {(16, 32, 32), (16, 16, 16), (32, 32, 32), (8, 8, 8)}
    assert (recipe.swap.iterations, recipe.swap.patch) == (100, (4, 4, 8))
    assert (recipe.overlap, recipe.locals, recipe.count, recipe.dtype) == (0.3, 6, 8, "float32")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shape": (32, 64)}, "shape: expected three positive"),
        ({"local_shape": (16, 0, 16)}, "local_shape: expected three"),
        ({"sizes": ()}, "sizes: expected at least one"),
        ({"sizes": ((64, 64, 64.0),)}, "sizes: expected at least one"),
        ({"local_sizes": ((33, 8, 8),)}, r"at most \(32, 64, 64\), got \(33, 8, 8\)"),
        ({"overlap": 1.0}, "overlap: expected a number from 0 to below 1"),
        ({"overlap": -0.1}, "overlap"),
        ({"locals": 0}, "locals: expected an integer of at least 1"),
        ({"locals": 2.0}, "locals: expected an integer"),
        ({"crops_per_volume": 0}, "crops_per_volume"),
        ({"flips": ("X",)}, "flips: expected some of"),
        ({"flips": ("W", "W")}, "flips: expected some of"),
        ({"scale": 1.0}, "scale"),
        ({"degrees": 181}, "degrees"),
        ({"blur": -1}, "blur"),
        ({"noise": float("inf")}, "noise"),
        ({"gamma": float("nan")}, "gamma"),
        ({"foreground": 1.1}, "foreground"),
        ({"normalize": "zscore"}, r"targets of 0\.\.\.1"),
        ({"normalize": "zscore-image"}, r"targets of 0\.\.\.1"),
        ({"normalize": None}, r"targets of 0\.\.\.1"),
        ({"normalize": ("window", 3, 2)}, "low < high"),
        ({"spacing": (1, 1)}, "spacing: expected three"),
        ({"spacing": (1, 0, 1)}, "spacing: expected three"),
        ({"swap": Swap(1, 65)}, "two disjoint patches"),
        ({"blur_probability": 1.1}, "blur_probability: expected a number from 0 to 1"),
        ({"isotropic_blur": 1}, "isotropic_blur: expected True or False"),
        ({"brightness": 1.1, "standardize": (0, 1)}, "brightness: expected a number from 0 to 1"),
        ({"contrast": 0.4}, "standardize: expected a mean and a standard deviation with brightness or contrast"),
        ({"standardize": (0.4, 0)}, "standardize: expected zscore, or a mean and a standard deviation above 0"),
        ({"standardize": "none"}, "standardize: expected zscore"),
        ({"cutout": (3, 33)}, r"cutout: expected an edge of at most that of a view, \(32, 64, 64\), got 33"),
        ({"cutout": (0, 8)}, "cutout: expected a number of holes and their edge in voxels, both positive"),
        ({"cutout": (1025, 8)}, "cutout: expected at most 1024 holes"),
        (FLAT | {"local_area": None}, r"local_area: expected \(low, high\) with 0 < low <= high <= 1, got None"),
        (FLAT | {"area": (0.3, 1.1)}, r"area: expected \(low, high\) with 0 < low"),
        (FLAT | {"shape": (8, 64, 64)}, r"shape: expected 1 along D with area, for 2-D views, got \(8, 64, 64\)"),
        (FLAT | {"sizes": ((1, 64, 64),)}, "sizes: expected none with area, which replaces it"),
        (FLAT | {"overlap": 0.5}, "overlap: expected none with area"),
        ({"shape": (1, 64, 64)}, r"sizes: expected 1 along D like the views' shape \(1, 64, 64\), got \(64, 96, 96\)"),
        ({"shape": (1, 64, 64), "sizes": ((1, 64, 64),)}, r"local_shape: expected 1 along D .*, got \(16, 16, 16\)"),
    ],
    ids=str,
)
def test_refuses_invalid_arguments(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Views(**wrong)


def test_lists_are_tuples_and_the_fingerprint_is_of_every_field() -> None:
    assert Views(shape=[32, 64, 64], sizes=[[32, 64, 64]], local_sizes=[[8, 8, 8]]) == Views(
        sizes=((32, 64, 64),), local_sizes=((8, 8, 8),)
    )
    other = {
        "shape": (32, 64, 48), "sizes": ((32, 64, 64),), "overlap": 0.4, "locals": 5, "local_shape": (16, 16, 8),
        "local_sizes": ((8, 8, 8),), "swap": Swap(99, (4, 4, 8)), "flips": (), "scale": 0.2, "degrees": 9, "blur": 1,
        "noise": 0.1, "gamma": 0.2, "normalize": "percentile", "foreground": 0.5, "spacing": (1, 1, 1),
        "crops_per_volume": 2, "blur_probability": 0.5, "isotropic_blur": True, "cutout": (3, 8),
        "standardize": (0.4, 0.2),
    }  # fmt: skip
    together = {"brightness": 0.4, "contrast": 0.4}
    flat = Views(**FLAT)
    assert {*other, *together, "area", "local_area"} == {field.name for field in fields(Views)}
    prints = {replace(Views(), **{name: value}).fingerprint for name, value in other.items()}
    prints |= {replace(Views(standardize=(0, 1)), **{name: value}).fingerprint for name, value in together.items()}
    prints |= {flat.fingerprint, *(replace(flat, **{n: (0.2, 0.4)}).fingerprint for n in ("area", "local_area"))}
    assert len(prints | {Views().fingerprint}) == len(other) + 6
    assert (flat.sizes, flat.local_sizes, flat.overlap, flat.boxes) == ((), (), 0, ())
    assert Views().fingerprint == dali_cr.Views().fingerprint
