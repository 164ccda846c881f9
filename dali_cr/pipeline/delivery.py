"""`Delivery`: turn finished batches into the batches that a loader delivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.pipeline.prefetch import Made
from dali_cr.pipeline.samples import Samples


class Delivery:
    """Adds sample numbers and case names to the tensors of a batch.

    Parameters
    ----------
    torch : module
    index : Index
    samples : Samples
    dims : 3 or 2
        With 2, tensors have no axis D.
    transform : callable, optional
        Function of a batch that returns the batch to deliver.

    Raises
    ------
    ValueError
        If dims is not 3, or 2 with arrays whose axis D has length 1, or the transform cannot be called.
    """

    def __init__(
        self, torch: Any, index: Index, samples: Samples, dims: int, transform: Callable[[dict[str, Any]], Any] | None
    ) -> None:
        if transform is not None and not callable(transform):
            raise ValueError(f"transform: expected a function of a batch, got {transform!r}")
        if dims not in (2, 3):
            raise ValueError(f"dims: expected 2 or 3, got {dims!r}")
        thick = [array.shape[-3:] for array in samples.outputs(1) if array.shape[-3] != 1]
        if dims == 2 and thick:
            raise ValueError(f"dims: expected a crop of (1, rows, columns) for 2, got {thick[0]}")
        self._torch, self._index, self._dims, self._transform = torch, index, dims, transform

    def __call__(self, made: Made, numbers: npt.NDArray[np.int64]) -> Any:
        """Return a batch in the form that is delivered."""
        tensors = made.tensors
        for name in {"mask", "valid"} & tensors.keys():
            tensors[name] = tensors[name].view(self._torch.bool)
        if self._dims == 2:
            tensors = {name: tensor.squeeze(-3) for name, tensor in tensors.items()}
        # A copy, because NumPy would free its memory under the GIL, for which the reader threads wait.
        sample = self._torch.tensor(numbers)
        batch = {**tensors, "sample": sample, "case": [self._index.cases[case].name for case in made.cases]}
        return self._transform(batch) if self._transform else batch
