"""Settings of fine-tuning runs, shared and for each task."""
