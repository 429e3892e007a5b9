"""Audit of texts that exist: the text measures and the states of a run, for files of others.

Whoever made the texts is not asked: a file says what stands in it, and in which order. What
cannot be told from texts alone is said.
"""
