"""Recipes for public data sets, from the published folder to a score."""
