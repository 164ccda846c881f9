"""Subjects of cases, found in the names of the cases."""
