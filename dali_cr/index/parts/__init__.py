"""Select cases of an index: by name, and in random parts that share no image."""
