"""Measurement: worker processes, clocks, resource usage, machine, results."""
