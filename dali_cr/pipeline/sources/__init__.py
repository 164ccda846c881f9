"""Make batches ahead of time: threads read the files of planned samples, and a CPU or a GPU finishes them."""
