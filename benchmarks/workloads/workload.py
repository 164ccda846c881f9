"""Definition of the workloads: volumes and samples. Triples are (D, H, W), that is z, y, x."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dali_cr import Restoration, Swap, Views
from dali_cr.index.volumes import Volume
from dali_cr.recipe.checks import ZSCORE_LIMIT, Normalize
from dali_cr.recipe.views import GLOBALS
from dali_cr.tools.phantom import Modality

Triple = tuple[int, int, int]
Edges = tuple[int, int]
"""Minimum and maximum edge of a patch along an axis."""


@dataclass(frozen=True)
class Workload:
    """Volumes of one shape, and the samples to make from them."""

    name: str
    about: str
    shape: Triple
    """Shape of the synthetic volumes."""
    modality: Modality
    crop: Triple
    patch: Any
    iterations: int
    batch_size: int
    normalize: Normalize = "zscore"
    files: Literal["nifti", "png"] = "nifti"
    samples: Literal["pairs", "views"] = "pairs"
    """Pairs of input and target, or PCRLv2's views: 2 global views of shape `crop`, their targets, and 6 local
    views."""
    volumes: int = 16
    """Number of volumes."""

    @property
    def recipe(self) -> Restoration | Views:
        """The loader's recipe: uniform crops without flips, as for all contenders; for views, the authors' settings."""
        swap = Swap(iterations=self.iterations, patch=self.patch)
        if self.samples == "views":
            return Views(shape=self.crop, swap=swap, normalize=self.normalize)
        return Restoration(crop=self.crop, swap=swap, flips=(), normalize=self.normalize)

    @property
    def pair_bytes(self) -> int:
        """Bytes of a float32 pair with one channel."""
        return 2 * 4 * self.crop[0] * self.crop[1] * self.crop[2]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the arrays of a batch with one channel."""
        recipe, size = self.recipe, self.batch_size
        if isinstance(recipe, Views):
            views = (size, GLOBALS, 1, *recipe.shape)
            return views, views, (size, recipe.locals, 1, *recipe.local_shape)
        return ((size, 1, *self.crop),) * 2

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Workload:
        """Return the workload from the result of `to_json`, with lists as tuples."""
        values: dict[str, Any] = {name: _tuples(value) for name, value in fields.items()}
        return cls(**values)


def _tuples(value: Any) -> Any:
    """Convert nested lists to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_BRAIN = Workload(
    name="a",
    about="240×240×155 int16 → 128³",
    shape=(155, 240, 240),
    modality="mr",
    crop=(128, 128, 128),
    patch=(15, 15, 15),
    iterations=100,
    batch_size=8,
)

WORKLOADS = {
    workload.name: workload
    for workload in (
        _BRAIN,
        replace(
            _BRAIN,
            name="b",
            about="240×240×155 int16 → 64×64×32 (PCRLv2)",
            crop=(32, 64, 64),
            patch=(4, 4, 8),
            batch_size=32,
        ),
        Workload(
            name="c",
            about="512×512×300 int16 CT → 96³",
            shape=(300, 512, 512),
            modality="ct",
            crop=(96, 96, 96),
            patch=(15, 15, 15),
            iterations=100,
            batch_size=8,
            normalize=("window", -160.0, 240.0),
            volumes=4,  # each takes a minute to make
        ),
        replace(_BRAIN, name="d", about="240×240×155 int16 → 64³", crop=(64, 64, 64)),
        replace(
            _BRAIN,
            name="v",
            about="240×240×155 int16 → PCRLv2's views, 2 of 64×64×32 and 6 of 16³",
            crop=(32, 64, 64),
            patch=(4, 4, 8),
            batch_size=32,
            normalize="percentile",
            samples="views",
        ),
        Workload(
            name="e",
            about="800×540 8-bit grey PNG → 288×224",
            shape=(1, 540, 800),
            modality="mr",
            crop=(1, 224, 288),
            patch=((1, 1), (8, 32), (8, 32)),
            iterations=100,
            batch_size=32,
            files="png",
        ),
    )
}


@dataclass(frozen=True)
class Intensity:
    """Parameters of the normalisation ``clip((value - centre) / width, low, high)``.

    All contenders get the volume's statistics, so that none has to read a whole volume for a crop.
    """

    centre: float
    width: float
    low: float
    high: float


def intensity(volume: Volume, normalize: Normalize) -> Intensity:
    """Return the normalisation of one volume."""
    if isinstance(normalize, tuple):
        return Intensity(normalize[1], normalize[2] - normalize[1], 0.0, 1.0)
    if normalize == "percentile":
        low, high = volume.statistics.low, volume.statistics.high
        return Intensity(low, high - low, 0.0, 1.0)
    if normalize != "zscore":
        raise ValueError(f"normalize: expected 'zscore', 'percentile' or a window, got {normalize!r}")
    return Intensity(volume.statistics.mean, volume.statistics.deviation, -ZSCORE_LIMIT, ZSCORE_LIMIT)
