"""Exact context-restoration samples from medical volumes, made on the GPU.

Arrays are (C, D, H, W): channels, then z, y, x of the RAS+ canonical grid, so that
``volume[0, z, y, x] == nibabel.as_closest_canonical(image).get_fdata()[x, y, z]``. Batches are (B, C, D, H, W) and
every triple is (D, H, W).
"""

from typing import TYPE_CHECKING, Any

from dali_cr.index.cases import Index
from dali_cr.index.scan import scan
from dali_cr.ops.swap import swap_patches, unswap_patches
from dali_cr.pipeline.advice import DataWarning
from dali_cr.plan.swaps import draw_swaps
from dali_cr.read.whole import read_volume
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.slices import Slices
from dali_cr.recipe.swap import Swap
from dali_cr.recipe.views import Views
from dali_cr.volume.geometry import VolumeError

if TYPE_CHECKING:
    from dali_cr import fn
    from dali_cr.loader import Loader
    from dali_cr.pipeline.graph import restoration_pipeline

__version__ = "0.2.0"
__all__ = [
    "DataWarning",
    "Index",
    "Loader",
    "Restoration",
    "Slices",
    "Swap",
    "Views",
    "VolumeError",
    "draw_swaps",
    "fn",
    "import_volumes",
    "pack",
    "read_volume",
    "restoration_pipeline",
    "scan",
    "swap_patches",
    "unpack",
    "unswap_patches",
]


def __getattr__(name: str) -> Any:
    """Import modules that need DALI, and commands, on first access, so that the rest works without DALI."""
    import importlib

    homes = {
        "Loader": "loader",
        "fn": "fn",
        "import_volumes": "tools.importers.run",
        "pack": "tools.pack",
        "restoration_pipeline": "pipeline.graph",
        "unpack": "tools.unpack",
    }
    if name not in homes:
        raise AttributeError(f"module 'dali_cr' has no attribute {name!r}")
    module = importlib.import_module(f"dali_cr.{homes[name]}")
    return module if name == homes[name] else getattr(module, name)
