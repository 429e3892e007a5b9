"""How often a view may look, so that the runs beside it keep their processor. Pure."""

SHARE = 0.015  # of one core that looking, reading and answering may take in the long run
LONGEST = 120.0  # seconds, after which a view looks again whatever it cost before


class Budget:
    """A debt of processor time, paid off at a fixed share of the time that passes.

    Args:
        share: of one core.
        longest: seconds within which any debt is paid off.
    """

    def __init__(self, share: float = SHARE, longest: float = LONGEST) -> None:
        self._share, self._longest = share, longest
        self._debt = 0.0  # seconds of processor time

    def spend(self, used: float, passed: float) -> None:
        """Note so many seconds of processor time, in so many seconds."""
        debt = self._debt + used - self._share * passed
        self._debt = min(max(0.0, debt), self._share * self._longest)

    def forgive(self, used: float) -> None:
        """Take off what somebody waits for: the first reading of a page."""
        self._debt = max(0.0, self._debt - used)

    @property
    def wait(self) -> float:
        """Seconds until the debt is paid off."""
        return self._debt / self._share
