"""Partial fit of a state dict to a network: prefixes, missing and misshapen tensors, the share of the encoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

LEAST = 0.5
"""Minimum share of the encoder's values that a file must have; with less, a run would be pre-trained in name only."""

_SHOWN = 3


def cut_prefix(tensors: Mapping[str, torch.Tensor], prefix: str, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with a prefix, without it.

    Raises
    ------
    ValueError
        If no name begins with it.

    Examples
    --------
    >>> cut_prefix({"module.conv.weight": torch.zeros(1), "step": torch.zeros(1)}, "module.", Path("x.pt")).keys()
    dict_keys(['conv.weight'])
    """
    kept = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not kept:
        raise ValueError(f"prefix: expected a prefix of names in {path}, such as {_first(tensors)}; got {prefix!r}")
    return kept


def describe_misfits(
    tensors: Mapping[str, torch.Tensor], wanted: Sequence[str], state: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    """Return the reason for each wanted tensor that a state dict cannot provide, to follow its name in a sentence.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        The state dict.
    wanted : sequence of str
        Names of the network's tensors.
    state : mapping of str to torch.Tensor
        The network's ``state_dict()``.
    """
    odd = {}
    for name in wanted:
        if name not in tensors:
            odd[name] = " is missing"
        elif tensors[name].shape != state[name].shape:
            odd[name] = f": expected shape {tuple(state[name].shape)}, got {tuple(tensors[name].shape)}"
    return odd


def check_share(
    tensors: Mapping[str, torch.Tensor], encoder: Sequence[str], state: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Check that a file has at least `LEAST` of the values of an encoder.

    Raises
    ------
    ValueError
        With the first names on both sides, and a prefix with which more would fit.
    """
    odd = describe_misfits(tensors, encoder, state)
    sizes = {name: state[name].numel() for name in encoder}
    share = sum(size for name, size in sizes.items() if name not in odd) / sum(sizes.values())
    if share >= LEAST:
        return
    shapes = [f"{name}{reason}" for name, reason in odd.items() if reason.startswith(":")]
    text = f"; {'; '.join(shapes[:_SHOWN])}" if shapes else ""
    raise ValueError(
        f"init: expected at least {LEAST:.0%} of the encoder's values in {path}, by name and shape; got {share:.0%}, "
        f"{len(encoder) - len(odd)} of {len(encoder)} tensors{text}. The network has {_first(encoder)}; the file has "
        f"{_first(tensors)}. {_advice(tensors, encoder)}"
    )


def check_values(tensors: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Check that tensors of a file have finite values, and are floating-point numbers where the network's are.

    Raises
    ------
    ValueError
    """
    for name, tensor in tensors.items():
        real = tensor.is_floating_point()
        if real != state[name].is_floating_point():
            raise ValueError(f"init: expected values of {state[name].dtype} for {name} in {path}, got {tensor.dtype}")
        if real and not torch.isfinite(tensor).all():
            raise ValueError(f"init: expected finite values for {name} in {path}, got NaN or infinity")


def _advice(tensors: Mapping[str, torch.Tensor], encoder: Sequence[str]) -> str:
    """Return the prefix that precedes most of the encoder's names, or the options that build another network."""
    starts = {name.removesuffix(encoder[0]) for name in tensors if name.endswith(encoder[0])} - {""}
    found = {start: sum(f"{start}{own}" in tensors for own in encoder) for start in sorted(starts)}
    if found:
        start = max(found, key=lambda one: found[one])
        return f"--prefix {start} finds {found[start]} of these names"
    return "--prefix removes what precedes them; --network, --filters, --topology and --plans build other networks"


def _first(names: Collection[str]) -> str:
    """Return the first names, in words."""
    shown = list(names)[:_SHOWN]
    return ", ".join(shown) + (" …" if len(names) > _SHOWN else "")
