"""Plans -> batches: threads read ahead, DALI moves, the device finishes. Knows no training."""
