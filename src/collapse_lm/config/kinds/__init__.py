"""The kinds of part of each place of an experiment, one file per place."""
