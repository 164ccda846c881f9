"""Check for the packages that training needs; imported first, so that a missing one gives one line, not a traceback."""

from __future__ import annotations

import sys

from dali_cr.extras import find_missing

if _line := find_missing(
    *("torch", "nvidia.dali", "tyro", "safetensors", "matplotlib", "scipy", "sklearn", "monai"),
    "dynamic_network_architectures",
):
    print(f"dali-cr: {_line}", file=sys.stderr)
    sys.exit(2)
