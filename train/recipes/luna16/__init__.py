"""LUNA16: lung nodules in CT."""
