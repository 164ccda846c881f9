"""Workloads: volumes, recipes, and the check of corruptions."""
