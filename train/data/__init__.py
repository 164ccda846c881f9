"""Cases with their labels, split into parts. Knows no network."""
