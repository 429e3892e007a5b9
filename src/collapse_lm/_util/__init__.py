"""Small helpers that know nothing of the project: printable text, files, the hub."""
