"""Pretexts on tiles of a crop: relative position (Doersch et al. 2015) and jigsaw (Noroozi and Favaro 2016)."""
