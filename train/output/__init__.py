"""Output files of commands: atomic writing, file names, pictures. Independent of runs."""
