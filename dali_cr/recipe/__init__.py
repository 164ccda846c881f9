"""Recipes, the user's settings for samples: `Restoration`, `Views`, `Swap` and `Slices`."""
