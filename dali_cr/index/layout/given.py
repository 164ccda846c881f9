"""Check a list of files, as given to ``scan(files=[...])``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dali_cr.index.files import Found, Pattern, is_readable
from dali_cr.index.layout.walk import Roots
from dali_cr.volume.packed.store import original_path


def read_given(
    root: Roots | None, files: Sequence[str | os.PathLike[str]], patterns: Sequence[Pattern]
) -> tuple[Path, dict[str, Found]]:
    """Check a list of volumes and images, and name their cases and channels.

    Parameters
    ----------
    root : path, optional
        Folder of relative paths. Default: the working directory, with the common parent of the files as the root.
    files : sequence of path
    patterns : list of Pattern
        The first matching pattern names the case and the channel.

    Returns
    -------
    top : Path
        The root that paths are relative to.
    files : dict of str to Found
        By path, sorted.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If the list is empty, or a file is listed twice, is outside the root, is not a volume or image, or matches no
        pattern.
    """
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise ValueError(f"files: expected at most one root, got {root!r}")
    base = Path() if root is None else Path(root)
    paths = [Path(os.path.abspath(base / file)) for file in files]
    if not paths:
        raise ValueError("files: expected at least one, got none")
    top = Path(os.path.commonpath([path.parent for path in paths])) if root is None else Path(os.path.abspath(base))
    found: dict[str, Found] = {}
    for path in paths:
        if not path.is_relative_to(top):
            raise ValueError(f"files: expected files under {top}, got {path}")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a file, {'a folder' if path.is_dir() else 'nothing'} is there")
        relative = path.relative_to(top).as_posix()
        original = original_path(path).relative_to(top).as_posix()
        names = next((match for pattern in patterns if (match := pattern.match(original))), None)
        if names is None or not is_readable(path.name):
            raise ValueError(f"files: expected NIfTI volumes or images that match the pattern, got {path}")
        if relative in found:
            raise ValueError(f"files: expected each file once, got {path} twice")
        found[relative] = Found(*names, explicit=True)
    return top, dict(sorted(found.items()))
