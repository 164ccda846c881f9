"""Tables and charts of benchmark results."""
