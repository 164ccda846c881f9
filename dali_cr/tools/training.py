"""Load and run the training commands, from `train/` of a checkout or from an installation."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import dali_cr

COMMANDS = {
    "splits": "split the cases into train, validation and test",
    "pretrain": "pre-train a network without labels",
    "finetune": "fine-tune a network on labelled cases",
    "predict": "predict masks, boxes or classes of new cases",
    "overlay": "draw predictions over their images",
    "export": "write weights, a plan and a model card for nnU-Net",
    "result": "store the scores and curves of a finished run",
    "baseline": "score a trivial and a linear baseline on the data of a run",
    "study": "run and compare many runs, declared in one file",
}
"""Help text by name of the command."""

_PACKAGE = "dali_cr.train"


def run_training(name: str, arguments: Sequence[str]) -> int:
    """Run a training command; return its exit code."""
    code: int = load_command(name).command_line(arguments)
    return code


def load_command(name: str) -> ModuleType:
    """Import the module of a training command.

    An installation has it in `dali_cr.train`. A checkout has it in `train/` next to `dali_cr/`, which is imported under
    the same name, so that a `train.py` in the working directory is never imported instead.

    Parameters
    ----------
    name : str
        A key of `COMMANDS`.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If the package was installed without the training commands.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        folder = Path(dali_cr.__file__).resolve().parents[1] / "train"
        if not (folder / f"{name}.py").is_file() and not (folder / name).is_dir():
            raise ImportError(f"{name}: expected the training commands in {folder}, got none; reinstall dali-cr")
        spec = ModuleSpec(_PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    importlib.import_module(f"{_PACKAGE}.start.interrupt").quit_on_interrupt(name)  # imports take seconds
    return importlib.import_module(f"{_PACKAGE}.{name}{'.__main__' if name == 'study' else ''}")
