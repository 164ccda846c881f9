"""Recipe for LiTS."""
