"""Settings that several commands share."""
