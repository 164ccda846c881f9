"""A training run: settings, folder, loop, checkpoint, processes. Independent of networks, methods and tasks."""
