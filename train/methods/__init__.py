"""Ways to pre-train. Know no labels."""
