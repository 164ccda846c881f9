"""One training run: folder, settings, loop, checkpoint, ranks. Knows no network, no method, no task."""
