"""Optimisers, learning-rate schedules, exponential moving averages of weights, and frozen encoders."""
