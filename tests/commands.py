"""Calls of the command line in a process of its own."""

import os
import subprocess
import sys


def command(*arguments):
    return [sys.executable, "-m", "collapse_lm", *map(str, arguments)]


def call(*arguments, cwd=None, **environment):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def settings(overrides):
    return [word for override in overrides for word in ("--set", override)]


def read_terminal(leader):
    """All that was written to a terminal until its other side is closed."""
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:
            return shown.decode("utf-8", "replace")
