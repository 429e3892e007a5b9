"""How many of torch's threads suit the machine as it is now; tried before a run, for a moment.

Threads wait for one another at every product, so where other work holds a processor a run
on all of them can take several times as long as one on fewer. Only what is busy before the
run begins can be seen.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch

from collapse_lm.experiment.build import Parts
from collapse_lm.experiment.trial import training_pass

_CACHED, _PASSES = 32, 4  # tokens in the cache, and passes of one row, of a trial
_SECONDS = 0.5  # after which no further round of trials begins
_CLEARLY = 0.9  # of the time with all threads, that fewer must stay below

_LOG = logging.getLogger(__name__)


@contextmanager
def threads_for(wanted: int | Literal["auto"], parts: Parts) -> Iterator[None]:
    """Compute with so many threads for the body of a with statement; auto tries all and fewer."""
    before = torch.get_num_threads()
    chosen = wanted
    if wanted == "auto":
        chosen = _fastest(parts) if parts.phases.device.type == "cpu" else before
    torch.set_num_threads(int(chosen))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates(threads: int) -> list[int]:
    """All threads first, then what is tried beside them."""
    return sorted({threads, max(1, threads - 1), max(1, threads // 2)}, reverse=True)


def _fastest(parts: Parts) -> int:
    numbers = candidates(torch.get_num_threads())
    if len(numbers) == 1:
        return numbers[0]
    begin, seen = time.perf_counter(), dict[int, list[tuple[float, float]]]()
    while not seen or time.perf_counter() - begin < _SECONDS:
        for number in numbers:
            torch.set_num_threads(number)
            seen.setdefault(number, []).append(_trial(parts))
    chosen = fewest_clearly_faster({n: _best(times) for n, times in seen.items()})
    if chosen != numbers[0]:
        message = "with %d of %d threads, which are faster beside what else runs here now"
        _LOG.warning(message, chosen, numbers[0])
    return chosen


def fewest_clearly_faster(times: Mapping[int, tuple[float, float]]) -> int:
    """The number of threads to take.

    Args:
        times: of a decoding pass and of a training pass, by number of threads.

    Returns:
        All of them, unless fewer take clearly less: the mean of both, each as a share of
        what all threads take.
    """
    most = max(times)
    shares = {n: (p / times[most][0] + s / times[most][1]) / 2 for n, (p, s) in times.items()}
    best = min(shares, key=lambda n: shares[n])
    return best if shares[best] < _CLEARLY else most


def _best(times: list[tuple[float, float]]) -> tuple[float, float]:
    passes, steps = zip(*times, strict=True)
    return min(passes), min(steps)


def _trial(parts: Parts) -> tuple[float, float]:
    """Seconds of a decoding pass, and of a training pass over a few tokens."""
    sampler = parts.state.models.sampler
    limit = parts.model.max_positions or _CACHED + _PASSES
    cached = max(1, min(_CACHED, limit - _PASSES))
    cache = sampler.new_cache(1, cached + _PASSES)
    ids_1S = torch.full((1, cached), parts.model.start_token)
    with torch.inference_mode():
        sampler.hidden(ids_1S, cache)
        begin = time.perf_counter()
        for _ in range(_PASSES):
            sampler.hidden(ids_1S[:, :1], cache)
        middle = time.perf_counter()
    trained = replace(parts.model, network=parts.state.models.trained)
    training_pass(trained, parts.experiment.learner.compute)
    return (middle - begin) / _PASSES, time.perf_counter() - middle
