"""Samples of `Views`: corrupted global views, their clean targets, and local views."""
