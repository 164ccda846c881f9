"""Folder of exported weights for nnU-Net: checkpoint, adaptation plan and model card."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import dali_cr
from dali_cr.system.owner import refuse_full

from ..output.files import write_json, write_text, write_whole
from .architecture import express
from .card import CHECKPOINT, write_card
from .citations import cite
from .plan import list_differences, make_plan
from .run import Run


def write_folder(run: Run, out: Path, licence: str | None = None) -> list[str]:
    """Write the folder; return the differences between nnU-Net's fine-tuning and the pre-training.

    Parameters
    ----------
    run : Run
    out : Path
        New or empty folder.
    licence : str, optional
        Licence of the weights, for the model card.

    Raises
    ------
    ValueError
        If nnU-Net has no such network, or the folder is not empty.
    """
    refuse_full(out)
    architecture = express(run.about, run.tensors)
    plan, citations, differences = make_plan(run, architecture), cite(run), list_differences(run)
    content = {
        "network_weights": architecture.weights,
        "nnssl_adaptation_plan": plan,
        "citations": citations,
        "about": run.about,
    }
    out.mkdir(parents=True, exist_ok=True)
    card = write_card(run, architecture, differences, citations, licence)
    try:
        write_text(out / "README.md", card)
        write_json(out / "adaptation_plan.json", plan)
        write_json(out / "config.json", {"model_type": architecture.class_name, "made_by": _made_by(run), **run.about})
        save_checkpoint(out / CHECKPOINT, content)  # last, so that it marks a complete folder
    except BaseException:
        # The folder was empty, and the next start expects it to be.
        for name in ("README.md", "adaptation_plan.json", "config.json", CHECKPOINT):
            (out / name).unlink(missing_ok=True)
        raise
    return differences


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values by `torch.save`, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_whole(path, buffer.getvalue())


def _made_by(run: Run) -> dict[str, Any]:
    return {"dali-cr": dali_cr.__version__, "commit": run.config.get("commit"), "versions": run.config.get("versions")}
