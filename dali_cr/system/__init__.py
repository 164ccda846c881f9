"""Process and machine: memory limits, locks, atomic writes, forked children, compiled functions."""
