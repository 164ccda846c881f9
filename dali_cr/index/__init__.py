"""Index a folder: its cases, their statistics, and the refused files; independent of recipes."""
