"""Watch a training loop of somebody else's for collapse.

    monitor = Monitor(tokenizer)                 # or CollapseMonitor(tokenizer), a callback
    ...                                          # after a step of yours:
    if monitor.is_due(step):
        finding = monitor.observe(model, step=step)

`Monitor` is for any loop, `CollapseMonitor` for transformers' Trainer and what is made of it.
Needs transformers alone. Names are loaded at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_lm.monitor.callback import CollapseMonitor
    from collapse_lm.monitor.findings import Finding
    from collapse_lm.monitor.monitor import Monitor
    from collapse_lm.monitor.settings import MONITOR_RULE

_HOME_OF = {
    "CollapseMonitor": "callback",
    "Finding": "findings",
    "MONITOR_RULE": "settings",
    "Monitor": "monitor",
}
__all__ = ["MONITOR_RULE", "CollapseMonitor", "Finding", "Monitor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
