"""Export the weights of a pre-training run for nnU-Net v2.

::

    dali-cr export nnssl runs/first first/                      # for nnU-Net's training from pre-trained weights
    dali-cr export pretrained-weights runs/first -o first.pth   # for nnUNetv2_train -pretrained_weights
    dali-cr export runs/first -o first.pth                      # the same

The first format is for ``nnUNetv2_preprocess_like_nnssl`` and ``nnUNetv2_train_pretrained`` on nnU-Net's master branch.
It takes a 3-D `dynunet`, `resenc-l` or `resenc-s`. nnU-Net builds the network of the plan and loads its encoder. The
folder gets

=========================  ==========================================================================================
``checkpoint_final.pth``   weights under nnU-Net's names, plan, citations
``adaptation_plan.json``   the plan: network, spacing, patch size, names of encoder and stem
``config.json``            metadata of the weights
``README.md``              model card: data, settings, three commands, limits, citations
=========================  ==========================================================================================

nnU-Net's fine-tuning applies a z-score to every channel of the whole image; pre-train with ``--normalize zscore-image``
and a ``--spacing``. Differences are printed as warnings.

The second format takes a `dynunet` that was pre-trained with ``--plans nnUNetPlans.json`` of nnU-Net's default
planner. For the configuration ``2d``, add ``--configuration 2d --dims 2 --slices D --crop 1 64 64`` and omit
``--spacing``. nnU-Net loads all layers except its output layers. Pre-train with the input of its training: volumes with
the plans' spacing, z-scored, with the same number of channels.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("export")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dali_cr.system.interrupt import Outputs
from dali_cr.system.owner import own_file, own_folder

from .networks.network import Levels
from .networks.plans import to_nnunet
from .networks.weights import read_weights
from .nnunet.card import CHECKPOINT
from .nnunet.folder import save_checkpoint, write_folder
from .nnunet.run import Run
from .start.command import asked, end, program


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export a pre-training run with --plans as a file for nnUNetv2_train -pretrained_weights."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Data: folder of the run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """Output: file to write."""


@dataclass(frozen=True, kw_only=True)
class NnsslConfig:
    """Export a pre-training run as a folder for nnUNetv2_preprocess_like_nnssl and nnUNetv2_train_pretrained."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Data: folder of the run."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Output: folder to write, new or empty."""
    licence: str | None = None
    """Output: licence of the weights, for the model card."""


FORMATS: dict[str, type[ExportConfig] | type[NnsslConfig]] = {
    "nnssl": NnsslConfig,
    "pretrained-weights": ExportConfig,
}


def main(config: ExportConfig | NnsslConfig) -> dict[str, Any]:
    """Export a run and return the report.

    Raises
    ------
    ValueError, OSError
        If the run cannot be exported or the file cannot be written.
    """
    if isinstance(config, NnsslConfig):
        with own_folder(config.out):
            return _write_folder(config)
    with own_file(config.out):
        return _write_file(config)


def _write_folder(config: NnsslConfig) -> dict[str, Any]:
    differences = write_folder(Run.read(config.run), config.out, config.licence)
    print("".join(f"warning    {one}\n" for one in differences), end="")
    return {"run": str(config.run), "out": str(config.out), "warnings": differences}


def _write_file(config: ExportConfig) -> dict[str, Any]:
    path = config.run / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"run: expected the folder of a run, {path} is missing")
    tensors, about = read_weights(path)
    levels = Levels.of(about)
    if levels is None or about["network"] != "dynunet":
        raise ValueError(
            f"run: expected a run with --plans, {config.run} was made without; dali-cr export nnssl needs no plans"
        )
    if about.get("trained") == "encoder":
        raise ValueError(
            f"run: expected a run that trained the decoder, which nnU-Net loads too, {config.run} was pre-trained by "
            f"--pretext {about['pretext']}; dali-cr export nnssl needs the encoder alone"
        )
    weights = to_nnunet(tensors, len(levels.widths))
    save_checkpoint(config.out, {"network_weights": weights, "about": json.dumps(about)})
    return {"run": str(config.run), "out": str(config.out), "tensors": len(weights)}


def read_config(arguments: Sequence[str]) -> ExportConfig | NnsslConfig:
    """Return the settings of a command line; the default format is ``pretrained-weights``."""
    prog, how = program("export"), (tyro.conf.FlagCreatePairsOff,)
    if not arguments or arguments[0] in (*FORMATS, "-h", "--help"):
        chosen: Callable[..., Any] = tyro.extras.subcommand_cli_from_dict
        about = (
            f"Export a pre-training run for nnU-Net: {prog} nnssl RUN OUT, or {prog} RUN -o FILE, which is short for "
        )
        about += f"{prog} pretrained-weights RUN -o FILE."
        config: ExportConfig | NnsslConfig = chosen(
            dict(FORMATS), prog=prog, description=about, args=arguments, config=how
        )
        return config
    return tyro.cli(ExportConfig, prog=prog, args=arguments, config=how)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    config = read_config(words)
    outputs = Outputs()
    outputs.add(config.out / CHECKPOINT if isinstance(config, NnsslConfig) else config.out)
    return end("export", lambda: asked(lambda: main(config)), kept=outputs)


if __name__ == "__main__":
    sys.exit(command_line())
