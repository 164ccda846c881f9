"""Read layouts and patterns: the case and the channel of each file, from its name."""
