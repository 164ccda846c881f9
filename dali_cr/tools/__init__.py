"""Commands beside the loader: preview, phantoms, doctor."""
