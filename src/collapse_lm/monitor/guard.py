"""What goes wrong in the monitor switches it off, and never ends a training. Knows no trainer."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger("collapse_lm.monitor")


class Guard:
    """Calls parts of the monitor until one of them fails.

    Attributes:
        is_off: nothing is called any more.
    """

    def __init__(self) -> None:
        self.is_off = False
        self._failure: tuple[str, str] | None = None  # as strings: frames would hold tensors

    @property
    def has_failed(self) -> bool:
        """True where something failed, whether it was told or not."""
        return self._failure is not None

    def call(
        self, moment: str, part: Callable[[], Any], *, passes: type[Exception] | None = None
    ) -> Any:
        """Call a part, and return what it returns; None where it fails, and after a failure.

        Args:
            moment: of the call, for the message.
            part: takes nothing.
            passes: an error that is the caller's business.
        """
        if self.is_off:
            return None
        try:
            return part()
        except Exception as error:  # whatever a part raises
            if passes is not None and isinstance(error, passes):
                raise
            told = f"{type(error).__name__}: {error}".strip()
            self._failure = f"{moment}: {told}", traceback.format_exc()
            self.is_off = True
            return None

    def tell(self) -> None:
        """Say what failed, once."""
        if self._failure is not None:
            told, details = self._failure
            message = "the monitor is switched off, and the training goes on. It failed at %s"
            _LOG.warning(message, told)
            _LOG.debug("%s", details)
