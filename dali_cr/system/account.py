"""Set USER and HOME for a process without an account, as in a container that is started with a numeric user."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path


def complete_account() -> None:
    """Set USER and HOME if the system has none, because imported packages fail without them."""
    if user_name() is None:
        os.environ["USER"] = f"uid{os.getuid()}"
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = str(_private_folder())


def user_name() -> str | None:
    """Return the name of the user, or None."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _private_folder() -> Path:
    """Return a folder for caches that other users cannot write, the same for all processes of a user."""
    folder = Path(tempfile.gettempdir()) / f"dali-cr-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="dali-cr-"))
