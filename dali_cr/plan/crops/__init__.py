"""Plans of `Restoration`: crops, their augmentation, and masked blocks."""
