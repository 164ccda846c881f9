"""Splits of the subjects into train, val and test."""
