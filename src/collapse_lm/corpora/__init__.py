"""Named corpora and the fixed windows in which they are scored."""
