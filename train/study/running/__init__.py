"""Execution of a study's runs: their folders, processes, time limit, learning rates and phases."""
