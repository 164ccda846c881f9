"""Pre-training methods. They use no labels."""
