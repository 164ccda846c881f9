"""Write the API reference from the docstrings, as HTML: ``python -m docs.build runs/docs``, or ``make docs``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

MODULES = (
    "dali_cr",
    "dali_cr.fn",
    "train.splits",
    "train.pretrain",
    "train.methods.config",
    "train.methods.restoration",
    "train.methods.pcrlv2.config",
    "train.finetune",
    "train.tasks.config",
    "train.predict",
    "train.overlay",
    "train.export",
    "train.result",
    "train.run.config",
)
"""The public names of the library, and the commands with their settings."""


def main(arguments: Sequence[str]) -> None:
    """Write the reference into a folder; a warning is an error."""
    warnings.simplefilter("error")
    import pdoc

    import dali_cr

    # pdoc reads a module's dictionary, in which names that are imported on first use are missing.
    vars(dali_cr).update({name: getattr(dali_cr, name) for name in dali_cr.__all__})
    pdoc.render.configure(docformat="numpy", template_directory=Path(__file__).parent, search=True)
    submodules = f"!{dali_cr.__name__}[.]"
    pdoc.pdoc(MODULES[0], submodules, *MODULES[1:], output_directory=Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
