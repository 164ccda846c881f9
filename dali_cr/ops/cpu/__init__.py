"""Compiled loops too long for the module of their op."""
