"""Networks and their sizes. Independent of data."""
