"""Turn plans into batches: threads read ahead, DALI transfers, the device finishes; independent of training."""
