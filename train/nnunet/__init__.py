"""Export of pre-training runs for nnU-Net v2: weights, adaptation plan and model card."""
