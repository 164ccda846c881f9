"""Samples of `Restoration`: a crop as target, and a corrupted copy of it as input."""
