"""Decoding passes on a CPU as machine code: `network`, and what it calls (`passes`)."""
