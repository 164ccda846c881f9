"""What commands write: whole files, names of their own, pictures. Knows no run."""
