"""Data that several tests share: a published example, and strategies for random ones."""

import numpy as np
from hypothesis import strategies as st

# Freireich et al. (1963): weeks of remission; + is censored.
SIX_MP = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def read(text):
    marks = text.split()
    return [float(mark.strip("+")) for mark in marks], [not mark.endswith("+") for mark in marks]


def both_groups():
    (six, six_seen), (placebo, placebo_seen) = read(SIX_MP), read(PLACEBO)
    return six + placebo, six_seen + placebo_seen, np.repeat([0.0, 1.0], [21, 21])[:, None]


def runs(minimum=1, maximum=12, latest=8):
    """Pairs (time, observed), with many ties."""
    pair = st.tuples(st.integers(0, latest), st.booleans())
    return st.lists(pair, min_size=minimum, max_size=maximum).map(
        lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
    )
