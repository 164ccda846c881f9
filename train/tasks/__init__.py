"""Fine-tuning tasks: segment, classify, localize. They do not depend on pre-training methods."""
