"""Linear probes of frozen encoders, and linear and trivial baselines of classification."""
