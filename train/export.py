"""Export a network that was pre-trained with nnU-Net plans as ``-pretrained_weights`` for nnU-Net v2.

::

    python -m train.pretrain --data scans/ --plans nnUNetPlans.json --crop 64 64 64 --spacing 1 1 1 --out runs/first
    python -m train.export runs/first -o first.pth
    nnUNetv2_train DATASET 3d_fullres FOLD -pretrained_weights first.pth

The plans must come from nnU-Net's default planner. For the configuration ``2d``, add ``--configuration 2d --dims 2
--slices D --crop 1 64 64`` and omit ``--spacing``. nnU-Net loads all layers except its output layers. Pre-train with
  the
input of its training: volumes with the plans' spacing, z-scored, with the same number of channels.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("export")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from dali_cr.system.owner import own_file

from .networks.network import Levels
from .networks.plans import to_nnunet
from .networks.weights import read_weights
from .output.files import write_whole
from .start.command import asked, end, read_arguments


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export a pre-training run with --plans as weights for nnU-Net v2."""

    run: tyro.conf.Positional[Path]
    """Data: folder of the run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Output: file to write."""


def main(config: ExportConfig) -> dict[str, Any]:
    """Write the file and return the report.

    Raises
    ------
    ValueError, OSError
        If the run cannot be exported or the file cannot be written.
    """
    with own_file(config.out):
        return _write(config)


def _write(config: ExportConfig) -> dict[str, Any]:
    """Write the file, which this process has locked."""
    path = config.run / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"run: expected the folder of a run, {path} is missing")
    tensors, about = read_weights(path)
    levels = Levels.of(about)
    if levels is None or about["network"] != "dynunet":
        raise ValueError(f"run: expected a run with --plans, {config.run} was made without")
    weights = to_nnunet(tensors, len(levels.widths))
    buffer = io.BytesIO()
    torch.save({"network_weights": weights, "about": json.dumps(about)}, buffer)
    write_whole(config.out, buffer.getvalue())
    return {"run": str(config.run), "out": str(config.out), "tensors": len(weights)}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(ExportConfig, "export", arguments)
    return end("export", lambda: asked(lambda: main(config)))


if __name__ == "__main__":
    sys.exit(command_line())
