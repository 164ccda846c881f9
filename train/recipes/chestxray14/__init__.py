"""Recipe for ChestX-ray14."""
