"""PCRLv2: restoration at two scales and siamese contrastive losses between views (Zhou et al. 2023)."""
