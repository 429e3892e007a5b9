"""The record of any number of runs as three typed tables, in files that other programs read."""
