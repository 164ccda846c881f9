"""Comparison of many runs that one TOML file declares."""
