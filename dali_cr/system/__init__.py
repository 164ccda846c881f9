"""The process and its machine: memory, locks, files written whole, the console."""
