"""Write files atomically.

A job may be killed at any time, also while it writes. Each file is therefore written under a temporary name in the same
folder, flushed to the disk, and then renamed over the old file. The folder is flushed too, so that a power failure does
not undo the rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}
"""Error codes of file systems and permissions that do not allow flushing a folder."""

_LONGEST = 235
"""Longest file name in bytes to which the writer and ".part" can be appended."""


def write_whole(path: str | os.PathLike[str], content: bytes, writer: str = "") -> None:
    """Write a file atomically: a reader sees either the old or the new content.

    Parameters
    ----------
    path : path-like
        The file. Its folder must exist.
    content : bytes
        Whole content of the file.
    writer : str
        Name of this process, if several processes may write the file at the same time.

    Raises
    ------
    OSError
        If the file cannot be written; the message names the file, whose old content is unchanged.
    """
    path = Path(path)
    # A fixed name, so that the next run overwrites the partial file of a killed run.
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
    except BaseException as error:
        # A partial file would remain after Ctrl-C, and on a full disk block later writes.
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _sync_folder(path: Path) -> None:
    """Flush a folder to the disk, if the file system supports it."""
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
