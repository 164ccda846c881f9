"""Write the API reference from the docstrings, as HTML: ``python -m docs.build runs/docs``, or ``make docs``."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import typing
import warnings
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

MODULES = (
    "dali_cr",
    "dali_cr.fn",
    "train.splits",
    "train.pretrain",
    "train.methods.config",
    "train.methods.restoration",
    "train.methods.pcrlv2.config",
    "train.finetune",
    "train.tasks.config.finetune",
    "train.tasks.config.segment",
    "train.tasks.config.whole",
    "train.predict",
    "train.overlay",
    "train.export",
    "train.result",
    "train.study.declared",
    "train.run.config.data",
    "train.run.config.training",
    "train.run.config.affine",
    "train.run.config.plans",
)
"""The public names of the library, and the commands with their settings."""


def main(arguments: Sequence[str]) -> None:
    """Write the reference into a folder; a warning is an error."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description="Write the API reference as HTML.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    import pdoc

    warnings.simplefilter("error")
    for name in MODULES:
        module = importlib.import_module(name)
        resolve(module)
        module.__doc__ = as_markdown(module.__doc__ or "")
    pdoc.render.configure(docformat="numpy", show_source=False, template_directory=Path(__file__).parent)
    pdoc.pdoc("dali_cr", "!dali_cr[.]", *MODULES[1:], output_directory=folder)


def resolve(module: ModuleType) -> None:
    """Put into a module what pdoc does not find: names that are imported on first use, types of inherited fields."""
    for name in getattr(module, "__all__", ()):
        setattr(module, name, getattr(module, name))
    for value in list(vars(module).values()):
        if isinstance(value, type) and is_dataclass(value) and "__init__" in vars(value):
            hints = typing.get_type_hints(value)
            own = value.__init__.__annotations__
            own.update({name: hints[name] for name in own if name in hints})


def as_markdown(text: str) -> str:
    """Return a module's docstring with its tables as they are typed and its blocks of code without their ``::``."""
    text = re.sub(r"^::\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^==+ .*^==+[ =]+$", r"```\n\g<0>\n```", text, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    main(sys.argv[1:])
