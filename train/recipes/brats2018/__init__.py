"""Recipe for BraTS 2018."""
