"""Test that recipes check their fields when they are created."""

from dataclasses import replace

import pytest

from dali_cr import Restoration, Swap


@pytest.mark.parametrize(
    ("patch", "shape", "edges"),
    [
        (5, (8, 9, 10), ((5, 5),) * 3),
        ((4, 16), (64, 64, 64), ((4, 16),) * 3),
        ((4, 4, 8), (32, 64, 64), ((4, 4), (4, 4), (8, 8))),
        ((1, (2, 3), 8), (32, 64, 64), ((1, 1), (2, 3), (8, 8))),
        ((4, 16), (1, 64, 64), ((1, 1), (4, 16), (4, 16))),
    ],
)
def test_edges(patch: object, shape: tuple[int, int, int], edges: object) -> None:
    assert Swap(patch=patch).edges(shape) == edges  # type: ignore[arg-type]


@pytest.mark.parametrize("patch", [0, -1, (5, 4), (0, 4), (1, 2, 3, 4), (1.5, 2), "4", (4,), True, None])
def test_refuses_invalid_patches(patch: object) -> None:
    with pytest.raises(ValueError, match="patch: expected"):
        Swap(patch=patch)  # type: ignore[arg-type]


@pytest.mark.parametrize("iterations", [-1, 1.0, True])
def test_refuses_iterations(iterations: object) -> None:
    with pytest.raises(ValueError, match="iterations: expected"):
        Swap(iterations=iterations)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patch", "crop"),
    [((4, 17), (32, 32, 32)), (9, (16, 16, 16)), ((40, 8, 8), (32, 64, 64)), (5, (4, 64, 64)), ((2, 2, 2), (1, 8, 8))],
)
def test_refuses_a_crop_that_is_too_small_and_names_limits(patch: object, crop: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at most half of it"):
        Restoration(crop=crop, swap=Swap(patch=patch))  # type: ignore[arg-type]


def test_patches_that_do_not_overlap_need_a_cell_each() -> None:
    """Check also that the error names the largest number of swaps, and that this number is accepted."""
    for crop, patch, cells in (
        ((64, 64, 70), (4, 16), (4, 4, 4)),
        ((1, 33, 50), 11, (1, 3, 4)),
        ((5, 4, 9), 4, (1, 1, 2)),
    ):
        swap = Swap(iterations=1, patch=patch, overlap=False)  # type: ignore[arg-type]
        assert swap.cells(crop) == cells
        most = cells[0] * cells[1] * cells[2] // 2
        Restoration(crop=crop, swap=replace(swap, iterations=most))
        with pytest.raises(ValueError, match=f"iterations: expected at most {most} without overlap, got {most + 1}"):
            Restoration(crop=crop, swap=replace(swap, iterations=most + 1))


def test_refuses_other_overlaps() -> None:
    with pytest.raises(ValueError, match="overlap: expected True or False"):
        Swap(overlap=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two disjoint patches"):
        Swap(patch=9, overlap=False).check((16, 16, 16))
    with pytest.raises(ValueError, match="patch: expected at most 16777216 cells"):
        Swap(patch=1, overlap=False).check((512, 512, 512))


def test_tight_but_possible() -> None:
    Restoration(crop=(32, 64, 32), swap=Swap(patch=(32, 32, 32)))
    Restoration(crop=(4, 4, 4), swap=Swap(iterations=0, patch=100))


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": (0, 8, 8)},
        {"crop": (8, 8)},
        {"crop": 8},
        {"crop": (8.0, 8, 8)},
        {"flips": ("X",)},
        {"flips": ("W", "W")},
        {"foreground": 1.1},
        {"crops_per_volume": 0},
        {"foreground": -0.1},
        {"dtype": "float64"},
        {"slices": "D"},
        {"normalize": "max"},
        {"normalize": ("window", 5, 5)},
        {"normalize": ("window", 0)},
        {"normalize": ("level", 0, 1)},
        {"normalize": ("window", 0, float("inf"))},
        {"degrees": -1},
        {"degrees": 181.0},
        {"degrees": float("nan")},
        {"scale": (1.4, 0.7)},
        {"scale": (0, 1)},
        {"scale": 1.2},
        {"affine_probability": 1.1},
        {"noise": float("inf")},
        {"gamma": True},
        {"intensity_probability": "0.2"},
    ],
    ids=str,
)
def test_errors_name_the_field(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        Restoration(**{"crop": (8, 8, 8), "swap": Swap(patch=2), **wrong})  # type: ignore[arg-type]


def test_fingerprints_of_recipes_differ_and_lists_become_tuples() -> None:
    one = Restoration(crop=(8, 8, 8), swap=Swap(patch=(2, 4)))
    assert one.fingerprint == Restoration(crop=[8, 8, 8], swap=Swap(patch=[2, 4])).fingerprint  # type: ignore[arg-type]
    others = [
        Restoration(crop=(8, 8, 9), swap=Swap(patch=(2, 4))),
        Restoration(crop=(8, 8, 8), swap=Swap(patch=(2, 3))),
        Restoration(crop=(8, 8, 8), swap=Swap(patch=(2, 4)), normalize=None),
        Restoration(crop=(8, 8, 8), swap=Swap(iterations=4, patch=(2, 4), overlap=False)),
        Restoration(crop=(8, 8, 8), swap=Swap(iterations=4, patch=(2, 4))),
    ]
    assert len({recipe.fingerprint for recipe in [one, *others]}) == 6
