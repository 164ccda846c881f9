"""Recipe for CheXpert."""
