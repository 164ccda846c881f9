"""Compiled loops that are shared by several operations or too long for their modules."""
