"""What nnU-Net v2 reads of a pre-training run: weights under its names, its plan, and a model card."""
