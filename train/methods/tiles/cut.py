"""Cutting of tiles from crops on their device, normalisation of each tile, and zeros around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dali_cr.volume.geometry import Triple

_CONSTANT = 1e-5
"""Standard deviation, relative to the largest value, up to which a tile counts as constant."""


def cut_tiles(images: torch.Tensor, starts: torch.Tensor, tile: Triple) -> torch.Tensor:
    """Return the tiles of images, on their device and without synchronisation.

    Parameters
    ----------
    images : (B, C, D, H, W) or (B, C, H, W)
    starts : (B, T, 3) int64
        First voxel (D, H, W) of each tile, on the images' device.
    tile : (D, H, W) int

    Returns
    -------
    tiles : (B, T, C, d, h, w) or (B, T, C, h, w)

    Examples
    --------
    >>> image = torch.arange(12.0).reshape(1, 1, 3, 4)
    >>> cut_tiles(image, torch.tensor([[[0, 1, 2], [0, 0, 0]]]), (1, 2, 2)).flatten(2)
    tensor([[[ 6.,  7., 10., 11.],
             [ 0.,  1.,  4.,  5.]]])
    """
    device, dims = images.device, images.ndim - 2
    places = [torch.arange(len(images), device=device).view(-1, *[1] * (dims + 1))]
    for axis, edge in enumerate(tile[3 - dims :]):
        view = [1] * dims
        view[axis] = edge
        first = starts[..., 3 - dims + axis].view(*starts.shape[:2], *[1] * dims)
        places.append(first + torch.arange(edge, device=device).view(view))
    return images.movedim(1, -1)[tuple(places)].movedim(-1, 2).contiguous()


def normalize_tiles(tiles: torch.Tensor) -> torch.Tensor:
    """Return tiles (B, T, C, ...) with mean 0 and standard deviation 1 in each tile and channel, constant ones as 0.

    Noroozi and Favaro (2016) and the public code of Doersch et al. (2015) normalise each tile, since its mean and
    standard deviation alone would tell which tiles are neighbours.

    Examples
    --------
    >>> normalize_tiles(torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]], [[[7.0, 7.0], [7.0, 7.0]]]])[None]).flatten(2)
    tensor([[[-1.,  1., -1.,  1.],
             [ 0.,  0.,  0.,  0.]]])
    """
    axes = tuple(range(3, tiles.ndim))
    centred = tiles - tiles.mean(axes, keepdim=True)
    std = centred.square().mean(axes, keepdim=True).sqrt()
    constant = std <= _CONSTANT * tiles.abs().amax(axes, keepdim=True)
    return (centred / std.where(~constant, 1.0)).where(~constant, 0.0)


def pad_tiles(tiles: torch.Tensor, edges: Triple) -> torch.Tensor:
    """Return tiles with zeros evenly around them, up to these edges.

    Parameters
    ----------
    tiles : (B, T, C, d, h, w) or (B, T, C, h, w)
    edges : (D, H, W) int
    """
    added: list[int] = []
    for own, edge in zip(reversed(tiles.shape[3:]), reversed(edges), strict=False):
        before = (edge - own) // 2
        added += [before, edge - own - before]
    return F.pad(tiles, added) if any(added) else tiles
