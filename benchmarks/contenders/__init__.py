"""Loaders that are compared."""
