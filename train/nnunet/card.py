"""Model card of exported weights: settings, use, limits and citations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import dali_cr
from dali_cr.index.volumes import counted

from .architecture import Architecture
from .run import Run, by

CHECKPOINT = "checkpoint_final.pth"
"""Name of the file of weights, as nnU-Net's commands expect it."""

_MEASURED = ("restoration_gain", "r2", "mse", "psnr", "explained", "accuracy", "chance", "cross_entropy")
"""Metrics of a report that the card shows."""

_UNKNOWN = "not known; check it before you publish the weights"


def write_card(
    run: Run,
    architecture: Architecture,
    differences: Sequence[str],
    citations: Sequence[dict[str, Any]],
    licence: str | None = None,
) -> str:
    """Return the README.md of exported weights.

    Parameters
    ----------
    run : Run
    architecture : Architecture
    differences : sequence of str
        From `train.nnunet.plan.list_differences`.
    citations : sequence of dict
        From `train.nnunet.citations.cite`.
    licence : str, optional
        Licence of the weights.
    """
    head = ["---", "tags:", "- medical-imaging", "- self-supervised-learning", "- nnunet"]
    head += [f"license_name: {json.dumps(licence)}", "license: other"] if licence else []
    method = citations[0]["name"] if citations[0]["type"].startswith("Pre-training") else run.method
    blocks = [
        "\n".join([*head, "---"]),
        f"# {run.data_name}: {run.about['network']}, pre-trained by {method}",
        f"Weights for nnU-Net v2, pre-trained without labels by dali-cr {dali_cr.__version__}.",
        _table(run, architecture, licence),
        *_usage(run, architecture),
        "## Limits",
        "\n".join(f"* {limit}" for limit in [*map(_sentence, differences), *_limits(run, architecture)]),
        "## Please cite",
        "\n\n".join(text for entry in citations for text in entry["apa_citations"]),
        "```bibtex\n" + "\n".join(text for entry in citations for text in entry["bibtex_citations"]) + "\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(run: Run, architecture: Architecture, licence: str | None) -> str:
    """Return a table of the data and settings of the weights."""
    index, split = run.index, run.about.get("split")
    channels = counted(run.about["channels"], "channel")
    images = f"{counted(len(index), 'case')}, {channels}" if index else channels
    names = f" ({', '.join(index.channel_names)})" if index and index.channel_names else ""
    part = f"part {split['part']} of the split `{split['hash']}`" if split else "no split; no case was kept for testing"
    measured = {name: value for name, value in run.report.items() if isinstance(value, float) and name in _MEASURED}
    rows = {
        "data": f"{run.data_name}: {images}{names}",
        "hash of the data": f"`{run.about.get('index', 'not kept')}`",
        "licence of the data": run.data_licence or _UNKNOWN,
        "licence of the weights": licence or _UNKNOWN,
        "split": part,
        "network": f"{run.about['network']}, for nnU-Net `{architecture.class_name.rpartition('.')[2]}`",
        "normalisation": run.normalize,
        "spacing (D, H, W)": run.spacing_text,
        "crop (D, H, W)": f"{by(run.crop)} voxels",
        "flips": " ".join(run.recipe.get("flips", ())) or "none",
        "steps": f"{run.about['step']:,} of {run.settings.get('batch_size')} samples, seed {run.settings.get('seed')}",
        "on held-out cases": ", ".join(f"{name} {value:.3f}" for name, value in measured.items()) or "not measured",
        "commit": f"`{run.config.get('commit')}`",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _usage(run: Run, architecture: Architecture) -> list[str]:
    """Return the section on the use of the weights."""
    mode = "like_pretrained" if run.spacing else "default_nnunet"
    place = "_".join(f"{mm:.2f}" for mm in run.spacing) if run.spacing else "…"
    plans = f"ptPlans__NAME____Spacing__{place}___Norm__{'_'.join('Z' * run.about['channels'])}"
    found = [
        "## Fine-tune in nnU-Net",
        "The commands for pre-trained weights are on nnU-Net's master branch, not in releases up to 2.8.1 "
        "(`pip install git+https://github.com/MIC-DKFZ/nnUNet`; Python 3.12 also needs `setuptools`). ID is your "
        "data set's number, NAME a name of your choice, FOLD 0 to 4.",
        "\n".join(
            [
                "```bash",
                "nnUNetv2_plan_and_preprocess -d ID",
                f"nnUNetv2_preprocess_like_nnssl -d ID -n NAME -pc {CHECKPOINT} -am {mode}",
                f"nnUNetv2_train_pretrained ID 3d_fullres FOLD -p {plans} -tr PretrainedTrainer",
                "```",
            ]
        ),
        "The second command writes the plans for the third one: `ls $nnUNet_preprocessed/*/ptPlans__NAME*` shows "
        "their name, which has a Z for each of your channels. Encoder and stem are loaded from this file; decoder and "
        "output layers are initialised at random.",
    ]
    if architecture.has_decoder:
        found.append(
            f"Released versions of nnU-Net load the same file, with the decoder, by `nnUNetv2_train … "
            f"-pretrained_weights {CHECKPOINT}`, if their plans define the same network."
        )
    return found


def _limits(run: Run, architecture: Architecture) -> list[str]:
    """Return the limits of all exported weights."""
    known = "any number" if architecture.stem == "encoder.stem" and run.about["channels"] == 1 else "the same number"
    return [
        f"The first layer has {counted(run.about['channels'], 'channel')} and can be loaded for {known} of channels.",
        "Volumes were reoriented to RAS+ (axes D, H, W = z, y, x). nnU-Net reorients them only with "
        '`"overwrite_image_reader_writer": "NibabelIOWithReorient"` in dataset.json.',
        "nnU-Net's commands z-score every channel over the whole image, also for CT.",
        "Types of images other than those in the table are untested. Not a medical device.",
    ]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
