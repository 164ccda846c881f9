"""The folder that nnU-Net's commands for pre-trained weights take: checkpoint, plan, card."""

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
    """Write the folder of a run's weights; return how nnU-Net's fine-tuning will differ from the pre-training.

    Parameters
    ----------
    run : Run
    out : Path
        New or empty.
    licence : str, optional
        Of the weights, for the card.

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
    write_text(out / "README.md", write_card(run, architecture, differences, citations, licence))
    write_json(out / "adaptation_plan.json", plan)
    write_json(out / "config.json", {"model_type": architecture.class_name, "made_by": _made_by(run), **run.about})
    save_checkpoint(out / CHECKPOINT, content)  # last: with it the folder is whole
    return differences


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values as `torch.save` does, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_whole(path, buffer.getvalue())


def _made_by(run: Run) -> dict[str, Any]:
    return {"dali-cr": dali_cr.__version__, "commit": run.config.get("commit"), "versions": run.config.get("versions")}
