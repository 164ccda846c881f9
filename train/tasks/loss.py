"""Loss functions of segmentation: Dice + cross-entropy, and those of PCRLv2's public code for BraTS and LiTS."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

LossName = Literal["dice-ce", "dice-bce", "tversky"]

BCE_WEIGHT = 0.2
"""Weight of the binary cross-entropy in "dice-bce"."""

FALSE_POSITIVES, FALSE_NEGATIVES = 0.3, 0.7
"""Weights of the Tversky index."""

_NEVER = -1e4
"""Logit of an impossible class."""


def segmentation_loss(name: LossName, logits: torch.Tensor, target: torch.Tensor, *, regions: bool) -> torch.Tensor:
    """Return the loss of a batch.

    * "dice-ce": Dice loss over the whole batch + cross-entropy; the background counts in the cross-entropy only.
    * "dice-bce", for regions: the sum over regions of the Dice loss, a mean over samples, + 0.2 times the binary
      cross-entropy, as PCRLv2's public code for BraTS.
    * "tversky": 1 - TP / (TP + 0.3 FP + 0.7 FN), a mean over samples and classes, without the background, as PCRLv2's
      public code for LiTS. 1 is added to numerator and denominator (there: to the denominator), so that false
      positives have a gradient where a class is absent.

    Parameters
    ----------
    name : "dice-ce", "dice-bce" or "tversky"
    logits : (B, K, D, H, W) float32
        One channel for each region, or the background followed by one for each class.
    target : (B, K, D, H, W) float32
        Masks of the same channels.
    regions : bool
        Whether channels are independent sigmoids, or else a softmax.

    References
    ----------
    Salehi et al.: Tversky loss function for image segmentation using 3D fully convolutional deep networks. MLMI 2017.
    RL4M/PCRLv2, branch finetune, ``utils.py`` and ``MICCAI-LITS2017/loss/Tversky.py``.
    """
    from monai.losses.dice import DiceCELoss, DiceLoss
    from monai.losses.tversky import TverskyLoss

    loss: torch.Tensor
    if name == "tversky":
        loss = TverskyLoss(
            include_background=regions,
            sigmoid=regions,
            softmax=not regions,
            alpha=FALSE_POSITIVES,
            beta=FALSE_NEGATIVES,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )(logits, target)
    elif name == "dice-bce":
        dice = DiceLoss(sigmoid=True)(logits, target)
        loss = logits.shape[1] * (dice + BCE_WEIGHT * F.binary_cross_entropy_with_logits(logits, target))
    elif regions:
        # Not DiceCELoss(sigmoid=True), whose cross-entropy uses a softmax over the regions.
        loss = DiceLoss(sigmoid=True, batch=True)(logits, target)
        loss = loss + F.binary_cross_entropy_with_logits(logits, target)
    else:
        loss = DiceCELoss(softmax=True, include_background=False, batch=True)(logits, target)
    return loss


def hide_unlabelled(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Merge the classes that are not annotated in a case into its background.

    A voxel that is labelled background may belong to such a class, so the loss uses the sum of both probabilities.

    Parameters
    ----------
    logits : (B, 1 + K, D, H, W) float32
        The background first.
    present : (B, K) bool
    """
    hidden = torch.cat([torch.zeros_like(present[:, :1]), ~present], 1)[:, :, None, None, None]
    first = torch.zeros_like(hidden)
    first[:, 0] = True
    background = torch.where(hidden | first, logits, _NEVER).logsumexp(1, keepdim=True)
    return torch.cat([background, torch.where(hidden, _NEVER, logits)[:, 1:]], 1)
