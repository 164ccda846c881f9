"""Baselines of whole-image tasks: constant predictions and regularised linear models."""
