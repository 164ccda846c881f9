"""Tiles on tensors: cutting, normalisation, the network's input, and evaluation by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from tests.helpers.recipes import loader
from train.methods.restoration import RestorationConfig
from train.methods.tiles.cut import cut_tiles, normalize_tiles, pad_tiles
from train.methods.tiles.evaluation import evaluate_tiles
from train.methods.tiles.head import TileClassifier, input_edges
from train.methods.tiles.method import Tiles
from train.methods.tiles.position import fit_position
from train.networks.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**changes: Any) -> RestorationConfig:
    known = {"data": (Path("/data"),), "out": Path("/run"), "pretext": "position", "crop": (16, 16, 16), "filters": 2}
    return RestorationConfig(**{**known, **changes})


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_are_boxes_of_their_crop(dims: int) -> None:
    crop, tile = ((1, 9, 11), (1, 4, 3)) if dims == 2 else ((7, 9, 11), (2, 4, 3))
    images = torch.randn(3, 2, *crop)
    starts = torch.stack([torch.randint(0, edge - own + 1, (3, 5)) for edge, own in zip(crop, tile, strict=True)], -1)
    found = cut_tiles(images if dims == 3 else images.squeeze(2), starts, tile)
    assert found.shape == (3, 5, 2, *tile[3 - dims :])
    for sample, places in enumerate(starts.tolist()):
        for number, place in enumerate(places):
            box = tuple(slice(start, start + own) for start, own in zip(place, tile, strict=True))
            wanted = images[(sample, slice(None), *box)].reshape(found.shape[2:])
            assert torch.equal(found[sample, number], wanted)


def test_each_tile_and_channel_is_normalised_by_itself() -> None:
    tiles = torch.randn(2, 3, 2, 4, 5, 6) * torch.tensor([1e-3, 1e3]).view(2, 1, 1, 1) + 7
    tiles[1, 2, 0] = 1234.567
    found = normalize_tiles(tiles)
    assert torch.equal(found[1, 2, 0], torch.zeros(4, 5, 6))
    rest = found.flatten(3)[[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]]
    torch.testing.assert_close(rest.mean(-1), torch.zeros(5, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(rest.std(-1, correction=0), torch.ones(5, 2), atol=1e-3, rtol=0)
    padded = pad_tiles(found, (8, 5, 8))
    assert padded.shape[3:] == (8, 5, 8)
    assert torch.equal(padded[..., 2:6, :, 1:7], found)
    assert (padded != 0).sum() == (found != 0).sum()


def test_the_input_is_as_large_as_the_network_needs() -> None:
    known = {"crop": (1, 64, 64), "filters": 2, "dims": 2, "channels": 1}
    for name, wanted in (("nsunet", (1, 24, 24)), ("sononet64", (1, 32, 32)), ("dynunet", (1, 32, 32))):
        assert input_edges(fit_position((1, 64, 64)), build_network(name, **known)) == wanted  # type: ignore[arg-type]
    network = build_network("dynunet", **known)  # type: ignore[arg-type]
    assert input_edges(fit_position((1, 64, 64), tile=(16,)), network) == (1, 32, 32)  # one feature has no variance
    with pytest.raises(
        ValueError, match="tiles of at least 32 voxels along H, .* of locnet, got 24; use --crop 1 96 96"
    ):
        input_edges(fit_position((1, 64, 64)), build_network("locnet", **known))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 16 voxels along H, .* of dynunet, got 8"):
        input_edges(fit_position((1, 64, 64), tile=(8,)), network)


def test_the_classifier_encodes_each_tile_by_itself() -> None:
    network = build_network("dynunet", 2, (16, 16, 16), filters=2)
    module = TileClassifier(network, tiles=3, classes=5).eval()
    tiles = torch.randn(2, 3, 2, 16, 16, 16)
    with torch.no_grad():
        assert module(tiles).shape == (2, 5)
        changed = tiles.clone()
        changed[1, 2] += 1 + torch.randn(2, 16, 16, 16)
        same = torch.isclose(module(changed), module(tiles)).all(1)
    assert same.tolist() == [True, False]


def test_crops_are_those_of_other_pretexts(mixed_index: dali_cr.Index) -> None:
    config = settings(crop=(12, 14, 16), patch=(2, 4), pretext="swap")
    tiles = replace(config, pretext="position", patch=(4, 16))
    with loader(mixed_index, config.samples()) as one, loader(mixed_index, tiles.samples()) as other:
        swapped, clean = next(one.stream()), next(other.stream())
    assert torch.equal(swapped["target"], clean["target"])
    assert torch.equal(clean["input"], clean["target"])
    assert swapped["case"] == clean["case"]
    assert not torch.equal(swapped["input"], clean["target"])


class Constant(torch.nn.Module):
    """Predicts one class, with a fixed probability for all others."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(classes).index_fill(0, torch.tensor(3), math.log(5.0)))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(tiles), -1)


@pytest.mark.parametrize("dims", [2, 3])
def test_accuracy_and_cross_entropy_are_measured_by_hand(mixed_index: dali_cr.Index, dims: int) -> None:
    flat = {"crop": (1, 16, 16), "dims": 2, "slices": "D"} if dims == 2 else {}
    method = Tiles(settings(**flat), mixed_index.channels)
    with loader(mixed_index, method.recipe, dims=dims) as stream:
        found = evaluate_tiles(
            Constant(method.tiling.classes), stream, 21, method.tiling, lambda batch: method.tiles_of(batch, 0)
        )
    classes = {2: 8, 3: 26}[dims]
    share = (method.tiling.draw(0, np.arange(21)).labels == 3).mean()
    numbers = found.numbers
    assert numbers["chance"] == 1 / classes
    assert numbers["accuracy"] == pytest.approx(share)
    assert numbers["cross_entropy"] == pytest.approx(math.log(classes + 4) - share * math.log(5.0), rel=1e-5)
    assert found.text.startswith(f"accuracy {share:.3f}, by chance {1 / classes:.3f}; cross-entropy ")
    assert [one.predicted for one in found.pictures] == [method.tiling.name(3)] * 4
    assert [list(column) for column in found.columns] == [["target", "tiles"]] * 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch": (2, 8)}, "--patch: expected no value with --pretext position, got 2 8; omit it, or give --pretext "),
        ({"iterations": 5}, "--iterations: expected no value .*, got 5; omit it, or give --pretext swap or inpaint"),
        ({"each_patch_once": True}, "--each-patch-once: expected no value with --pretext position"),
        ({"mask_ratio": 0.5}, "--mask-ratio: .* or give --pretext mae"),
        ({"permutations": 7}, "--permutations: expected no value with --pretext position, got 7; .* jigsaw"),
        ({"network": "resenc-s", "skips": True}, "--skips: expected no value with --pretext position"),
        ({"pretext": "jigsaw", "gap": 4}, "--gap: expected no value with --pretext jigsaw, got 4; .* position"),
        ({"pretext": "swap", "patch": (2, 4), "tile": (8,)}, "--tile: .* --pretext swap, got 8; .* position or jigsaw"),
        ({"tile": (8,)}, "--tile: expected two tiles of 8 voxels with a gap of 4"),
        ({"pretext": "jigsaw", "crop": (1, 1, 16), "dims": 2}, "crop: expected two or three edges of more than one"),
    ],
)
def test_options_that_do_not_apply_or_do_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**changes)


@pytest.mark.parametrize(
    ("pretext", "network", "crop", "dims"),
    [
        ("position", "dynunet", (1, 32, 48), 2),
        ("jigsaw", "sononet64", (1, 64, 64), 2),
        ("jigsaw", "nsunet-skips", (1, 32, 32), 2),
        ("jigsaw", "dynunet", (16, 24, 16), 3),
        ("position", "resenc-s", (24, 24, 24), 3),
        ("position", "locnet", (1, 96, 96), 2),
    ],
)
def test_every_network_has_an_encoder_for_tiles(pretext: Any, network: Any, crop: Any, dims: Any) -> None:
    many = {"permutations": 6} if pretext == "jigsaw" else {}
    config = settings(pretext=pretext, network=network, crop=crop, dims=dims, **many)
    method = Tiles(config, channels=1)
    batch = {"target": torch.randn(2, 1, *crop[3 - dims :]), "sample": torch.tensor([4, 5])}
    losses = method.losses(batch, step=1)
    assert losses["loss"].item() == pytest.approx(math.log(method.tiling.classes), abs=1.0)
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.module.parameters())
    assert method.network.tensors == method.network.encoder
    assert set(method.network.tensors) <= set(method.network.module.state_dict())
