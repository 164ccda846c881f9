"""PCRLv2: restoration at two scales and siamese comparison of views (Zhou et al. 2023)."""
