"""Results of a study as tables, figures and files."""
