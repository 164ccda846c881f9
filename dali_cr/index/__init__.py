"""One folder: cases, statistics, refused files. Knows no recipe."""
