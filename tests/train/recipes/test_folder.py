"""Files of published data sets: found through links, and links to nothing are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.recipes.folder import find_files, find_named


def test_linked_files_and_folders_are_found_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    large, source = tmp_path / "large", tmp_path / "source"
    for folder in (large / "images_001", source):
        folder.mkdir(parents=True)
    for name in ("images_001/a.png", "images_001/.hidden.png", "b.png", "table.csv"):
        (large / name).write_bytes(b"1")
    (source / "images_001").symlink_to(large / "images_001")
    (source / "b.png").symlink_to(large / "b.png")
    (source / "up").symlink_to(source)
    (source / "folder.png").mkdir()
    assert find_named(source, ("*.png",)) == {"a.png": source / "images_001" / "a.png", "b.png": source / "b.png"}
    (source / "c.png").symlink_to(large / "gone.png")
    with pytest.raises(ValueError, match=r"c\.png is a link to .*gone\.png, which does not exist; repair the link"):
        find_named(source, ("*.png",))
    assert find_files(source, ("*.csv",)) == []
