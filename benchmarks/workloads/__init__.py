"""What is loaded: volumes, recipes, and how results are judged."""
