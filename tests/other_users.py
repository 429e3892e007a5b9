"""Be somebody whom permissions hold: the superuser reads and writes whatever the mode says."""

import os
from contextlib import contextmanager

_NOBODY = 65534


@contextmanager
def unprivileged():
    """Act as another user where this one is the superuser; any other one is held anyway."""
    if os.geteuid():
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(_NOBODY)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
