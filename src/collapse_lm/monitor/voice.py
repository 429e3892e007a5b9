"""Where the sentences of a monitor are read: on stderr, where a script set up no logging.

Python shows warnings alone then, and a baseline, or a probe that shows nothing, is none.
"""

import logging

_LOG = logging.getLogger("collapse_lm.monitor")


def be_heard() -> None:
    """Show what monitors say, from INFO on; nothing where the script has handlers of its own."""
    if _LOG.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("collapse monitor: %(message)s"))
    handler.addFilter(_is_alone)
    _LOG.addHandler(handler)
    if _LOG.level == logging.NOTSET:
        _LOG.setLevel(logging.INFO)


def _is_alone(record: logging.LogRecord) -> bool:
    """False once the script has set up logging after all."""
    return not (logging.getLogger().handlers or logging.getLogger("collapse_lm").handlers)
