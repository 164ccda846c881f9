"""Which tensors of a file of weights fit a network, where not all of them need to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

LEAST = 0.5
"""Share of the encoder's numbers that a file must have: with less, a run would be called pre-trained and is not."""

_SHOWN = 3


def cut_prefix(tensors: Mapping[str, torch.Tensor], prefix: str, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with a prefix, without it.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> cut_prefix({"module.conv.weight": torch.zeros(1), "step": torch.zeros(1)}, "module.", Path("x.pt")).keys()
    dict_keys(['conv.weight'])
    """
    kept = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not kept:
        raise ValueError(f"prefix: expected one that names in {path} begin with, as {_first(tensors)}; got {prefix!r}")
    return kept


def describe_misfits(
    tensors: Mapping[str, torch.Tensor], wanted: Sequence[str], state: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    """Return the reason for each wanted tensor that does not come from a file.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        What the file has.
    wanted : sequence of str
        Names of the network's tensors.
    state : mapping of str to torch.Tensor
        The network's ``state_dict()``.
    """
    odd = {}
    for name in wanted:
        if name not in tensors:
            odd[name] = "is missing"
        elif tensors[name].shape != state[name].shape:
            odd[name] = f"is {tuple(tensors[name].shape)}, {tuple(state[name].shape)} expected"
    return odd


def refuse_little(
    tensors: Mapping[str, torch.Tensor], encoder: Sequence[str], state: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Refuse a file that has too little of an encoder.

    Raises
    ------
    ValueError
        With the first names on both sides, and a prefix with which more would fit.
    """
    odd = describe_misfits(tensors, encoder, state)
    numbers = {name: state[name].numel() for name in encoder}
    share = sum(count for name, count in numbers.items() if name not in odd) / sum(numbers.values())
    if share >= LEAST:
        return
    shapes = [f"{name} {reason}" for name, reason in odd.items() if reason != "is missing"]
    text = f"; {'; '.join(shapes[:_SHOWN])}" if shapes else ""
    raise ValueError(
        f"init: expected at least {LEAST:.0%} of the encoder's numbers in {path}, by name and shape; got {share:.0%}, "
        f"{len(encoder) - len(odd)} of {len(encoder)} tensors{text}. The network has {_first(encoder)}; the file has "
        f"{_first(tensors)}. {_advice(tensors, encoder)}"
    )


def _advice(tensors: Mapping[str, torch.Tensor], encoder: Sequence[str]) -> str:
    """Return what may help: the prefix in front of most of the encoder's names, or a network that is built alike."""
    ends = {name[: -len(own)] for own in encoder[:1] for name in tensors if name.endswith(own)}
    fitting = Counter({start: sum(f"{start}{own}" in tensors for own in encoder) for start in ends if start})
    if fitting:
        start, count = fitting.most_common(1)[0]
        return f"--prefix {start} finds {count} of these names"
    return "--prefix cuts off what stands before them; --network, --filters, --topology and --plans build others"


def _first(names: Mapping[str, torch.Tensor] | Sequence[str]) -> str:
    """Return the first names, in words."""
    shown = list(names)[:_SHOWN]
    return ", ".join(shown) + (" …" if len(names) > _SHOWN else "")
