"""Cases, labels and splits. Independent of networks."""
