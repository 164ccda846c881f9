"""The second, faster CPU versions of decode and gather."""
