"""nnssl's adaptation plan of a run, from which nnU-Net reads spacing, patch size, architecture and names of layers."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture
from .run import Run

_STYLES: dict[tuple[float, ...] | None, str] = {None: "noresample", (1.0, 1.0, 1.0): "onemmiso"}
"""nnssl's names of spacings; all others are called fixed."""


def make_plan(run: Run, architecture: Architecture) -> dict[str, Any]:
    """Return the plan as plain values, for ``torch.load(weights_only=True)`` and JSON."""
    channels = int(run.about["channels"])
    return {
        "architecture_plans": architecture.plan,
        "pretrain_plan": _pretrain_plan(run, channels),
        "pretrain_num_input_channels": channels,
        "recommended_downstream_patchsize": list(run.crop),
        "key_to_encoder": architecture.encoder,
        "key_to_stem": architecture.stem,
        "keys_to_in_proj": list(architecture.projections),
        "key_to_lpe": None,
    }


def _pretrain_plan(run: Run, channels: int) -> dict[str, Any]:
    """Return the part about the samples; D, H, W of the canonical volume are nnU-Net's z, y, x."""
    scheme = "ZScoreNormalization" if run.normalize == "zscore-image" else f"dali-cr {run.normalize}"
    resampled = {"is_seg": False, "order": 1, "order_z": 1, "force_separate_z": False}
    configuration = {
        "data_identifier": "dali-cr",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing_style": _STYLES.get(tuple(run.spacing) if run.spacing else None, "fixed"),
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampled,
        "resampling_fn_mask": "resample_data_or_seg_to_shape",
        "resampling_fn_mask_kwargs": resampled | {"is_seg": True},
        "spacing": run.spacing,
        "patch_size": list(run.crop),
    }
    return {
        "dataset_name": run.data_name,
        "plans_name": "dali-cr",
        "original_median_spacing_after_transp": run.median_spacing,
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"pretrained": configuration},
        "experiment_planner_used": "dali-cr",
    }


def list_differences(run: Run) -> list[str]:
    """Return the differences between nnU-Net's fine-tuning and the pre-training, with how to avoid them."""
    found = []
    spacing = run.recipe.get("spacing")
    if run.normalize != "zscore-image":
        found.append(
            f"pre-trained with normalize {run.normalize}, nnU-Net's commands z-score every channel over the whole "
            "image; pre-train with --normalize zscore-image"
        )
    if run.spacing is None:
        own = "a spacing for each data set" if spacing else "each file's own spacing"
        found.append(f"pre-trained on {own}, nnU-Net resamples to the data set's median; pre-train with one --spacing")
    if run.about["channels"] > 1:
        found.append(f"pre-trained on {run.about['channels']} channels, nnU-Net can load the weights only for as many")
    if run.crop[0] == 1:
        found.append("pre-trained on single slices, nnU-Net's 3d_fullres would train on patches of one slice")
    steps = run.settings.get("steps")
    if steps and run.about["step"] < steps:
        found.append(f"from an unfinished run, step {run.about['step']} of {steps}; finish it with --resume")
    return found
