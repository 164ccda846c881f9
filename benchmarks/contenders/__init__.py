"""Loaders to compare."""
