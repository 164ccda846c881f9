"""Recipes from the folder of a public data set to a score."""
