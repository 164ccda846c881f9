"""Writing of Matplotlib figures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dali_cr.system.atomic import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(figure: Figure, path: Path, **how: Any) -> None:
    """Write a figure atomically in the format of the suffix; `how` is passed to `Figure.savefig`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], **how)
    write_whole(path, buffer.getvalue())
