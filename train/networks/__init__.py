"""Modules and their sizes. Know no data."""
