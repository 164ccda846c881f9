"""Files that are either whole or not there.

A job may be killed at any instruction, also while it writes. So each file is written under another name in the same
folder, forced to the disk, and only then renamed over the old one; the folder is forced to the disk too, or the
rename itself could be lost with the power.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}
"""What file systems and rights answer where a folder cannot be forced to the disk."""

_LONGEST = 235
"""Bytes of a name that a writer and ".part" may follow."""


def write_whole(path: str | os.PathLike[str], content: bytes, writer: str = "") -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    path : path-like
        The file. Its folder must exist.
    content : bytes
        All of it.
    writer : str
        Where several processes may write the file at once, a name of this one.

    Raises
    ------
    OSError
        Naming the file, of which then the old content is there, or nothing.
    """
    path = Path(path)
    # One fixed name, so that what a killed run left behind is overwritten by the next.
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    part = path.with_name(f"{name}{writer}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        # On a full disk even a part is in the way of what comes next.
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk, where the file system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
