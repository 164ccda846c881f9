"""What every training command needs; imported first, so that a missing package is one line and no traceback."""

from __future__ import annotations

from dali_cr.extras import require

require("torch", "nvidia.dali", "tyro", "safetensors", "matplotlib", "scipy", "monai", "tensorboard")
