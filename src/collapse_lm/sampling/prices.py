"""How long a draft pays off: what a pass of several rows costs here, and how many tokens hold.

Only for networks whose rows have the same bits in every pass: there the length of a draft
changes no token, so it may follow from measured time. Elsewhere a token that is nearly a tie
could fall otherwise, and a resumed run must propose what the unbroken one did.
"""

import time
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch

from collapse_lm.inference import Network

_PLACES = (1, 2, 4, 8, 16)  # rows of the passes that are timed; those between are interpolated
_ROUNDS = 2
_CACHED = 100  # tokens in the cache meanwhile
_PRIOR = 1.0  # tokens that held, and that did not, before anything is known
_RECENT = 0.9  # of what was known is left after a pass

_PRICES: WeakKeyDictionary[Network, list[float]] = WeakKeyDictionary()


class Prices:
    """Chooses the length of drafts by expected tokens per second.

    Args:
        seconds: of a pass of 1, 2, ... rows.
    """

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds = seconds
        self._held = self._failed = _PRIOR

    def best(self, longest: int) -> int:
        """The length, of 1 to `longest`, with the most expected tokens per second.

        Each proposed token holds with the same probability, as recent passes tell; a draft
        of n gives 1 + p + ... + p^n tokens in the time of n + 1 rows.
        """
        p, tokens = self._held / (self._held + self._failed), 1.0
        best, pace = 1, 0.0
        for length in range(1, min(longest, len(self._seconds) - 1) + 1):
            tokens += p**length
            if tokens / self._seconds[length] > pace:
                best, pace = length, tokens / self._seconds[length]
        return best

    def tell(self, proposed: int, held: int) -> None:
        """Take note of a draft that was checked."""
        self._held = _RECENT * self._held + held
        self._failed = _RECENT * self._failed + (held < proposed)


def prices_of(network: Network) -> Prices | None:
    """Prices measured once per network; None where the length of a draft might change a token."""
    if not network.is_row_exact:
        return None
    if network not in _PRICES:
        _PRICES[network] = _interpolated([_seconds(network, rows) for rows in _PLACES])
    return Prices(_PRICES[network])


@torch.inference_mode()
def _seconds(network: Network, rows: int) -> float:
    """Time of the shortest of a few passes, the head's product included."""
    cache = network.new_cache(1, _CACHED + max(_PLACES))
    network.hidden(torch.zeros(1, _CACHED, dtype=torch.int64), cache)
    ids, taken = torch.zeros(1, rows, dtype=torch.int64), []
    for _ in range(_ROUNDS):
        cache.rewind([_CACHED])
        begin = time.perf_counter()
        network.logits(network.hidden(ids, cache)[0])
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _interpolated(seconds: Sequence[float]) -> list[float]:
    """Times of 1 to 16 rows; more rows never take less."""
    found: list[float] = []
    for rows in range(1, _PLACES[-1] + 1):
        after = next(place for place, known in enumerate(_PLACES) if known >= rows)
        low, high = _PLACES[max(0, after - 1)], _PLACES[after]
        share = (rows - low) / (high - low) if high > low else 0.0
        time_here = seconds[max(0, after - 1)] * (1 - share) + seconds[after] * share
        found.append(max(time_here, found[-1] if found else 0.0))
    return found
