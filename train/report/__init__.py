"""Statistics and figures of finished runs: intervals, summaries, curves."""
