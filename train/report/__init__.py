"""What a finished run showed: intervals, summaries, curves."""
