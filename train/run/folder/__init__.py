"""Folder of a run: its config.json, and checks before a run is started or resumed in it."""
