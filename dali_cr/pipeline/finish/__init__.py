"""Finish samples, on a GPU by batch and on the CPU one by one: decode or interpolate them, and corrupt the input."""
