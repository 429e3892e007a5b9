"""Propose the next tokens by n-gram look-up over this sample and earlier ones.

A proposal costs nothing but a dictionary look-up; the model checks all of it in one
pass. A collapsing model repeats itself, so the proposals get better as it collapses.
Proposals never change a token (see `sampler`), only the number of passes.

Each token costs O(1), and the memory for earlier samples is taken once and does not
grow over a run.
"""

from array import array
from collections.abc import Sequence

from collapse_lm.sampling.prices import Prices

_LONGEST = 4
_SHORTEST = 2
_TOKENS = 2**16  # of earlier samples that are remembered
_SLOTS_PER_TOKEN = 4  # for the three n-grams that end at a token
_FIRST_LENGTH = 4
_END = -1  # follows each sample, so that nothing is proposed across its end


class Memory:
    """The latest tokens of earlier samples, and where n-grams of them last ended.

    A ring of tokens and a hash table of fixed size: a newer n-gram takes the slot of an
    older one with the same hash, and a hit is compared with the tokens themselves.
    """

    def __init__(self, tokens: int = _TOKENS) -> None:
        self._ring = array("q", [_END]) * tokens
        self._ends = array("q", [0]) * (tokens * _SLOTS_PER_TOKEN)
        self._count = 0  # tokens ever written; the newest stands at _count - 1

    def write(self, sample: Sequence[int]) -> None:
        """Remember a sample."""
        base, ring = self._count, self._ring
        for offset, token in enumerate((*sample, _END)):
            ring[(base + offset) % len(ring)] = token
        self._count = base + len(sample) + 1
        for end in range(_SHORTEST, len(sample) + 1):
            for n in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._ends[self._slot(tuple(sample[end - n : end]))] = base + end

    def after(self, ngram: tuple[int, ...], wanted: int) -> list[int] | None:
        """What followed the last occurrence of an n-gram, up to its sample's end."""
        end = self._ends[self._slot(ngram)]
        is_there = end - len(ngram) >= max(0, self._count - len(self._ring))
        if not is_there or self._read(end - len(ngram), end) != list(ngram):
            return None
        followed = self._read(end, min(end + wanted, self._count))
        return followed[: followed.index(_END)] if _END in followed else followed

    def _slot(self, ngram: tuple[int, ...]) -> int:
        return hash(ngram) % len(self._ends)  # the hash of integers is the same in every process

    def _read(self, start: int, end: int) -> list[int]:
        ring = self._ring
        return [ring[place % len(ring)] for place in range(start, end)]


class Drafter:
    """Proposes tokens for the samples of a run.

    What it knows is a function of the samples it was shown, in order, so that a
    resumed run that shows it the recorded samples proposes the same tokens.
    """

    def __init__(self, longest_draft: int = 15, memory: int = _TOKENS) -> None:
        self.longest_draft = longest_draft
        self.memory = Memory(memory)
        self.prices: Prices | None = None  # where known, they choose the length of a draft

    def learn(self, sample: Sequence[int]) -> None:
        """Remember a finished sample."""
        self.memory.write(sample)

    def sequence(self) -> "DraftedSequence":
        """Start a new sample."""
        return DraftedSequence(self)


class DraftedSequence:
    """One growing sample: its own n-grams come before those of earlier samples.

    Without prices the length of a proposal doubles when all of the last one held and falls
    to what held of it otherwise.
    """

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        self._length = min(_FIRST_LENGTH, drafter.longest_draft)

    def extend(self, token: int) -> None:
        """Add the token that was picked; the n-grams that end before it become known."""
        end = len(self._tokens)
        for n in range(_SHORTEST, min(_LONGEST, end) + 1):
            self._ends[tuple(self._tokens[end - n :])] = end
        self._tokens.append(token)

    def propose(self, limit: int) -> list[int]:
        """Propose up to `limit` tokens that may come next; none where nothing is known."""
        prices = self._drafter.prices
        best = prices.best(self._drafter.longest_draft) if prices else self._length
        wanted = min(limit, best)
        for n in range(min(_LONGEST, len(self._tokens)), _SHORTEST - 1, -1):
            suffix = tuple(self._tokens[-n:])
            if suffix in self._ends:
                return _continuation(self._tokens, self._ends[suffix], wanted)
            found = self._drafter.memory.after(suffix, wanted)
            if found is not None:
                return found
        return []

    def tell(self, proposed: int, held: int) -> None:
        """Adapt to how many of the proposed tokens held."""
        if proposed and self._drafter.prices is not None:
            self._drafter.prices.tell(proposed, held)
        if proposed and held == proposed:
            self._length = min(2 * self._length, self._drafter.longest_draft)
        elif proposed:
            self._length = min(max(2, held + 1), self._drafter.longest_draft)


def _continuation(tokens: list[int], start: int, wanted: int) -> list[int]:
    """What followed; past the end of the growing sample it follows itself (a loop goes on)."""
    draft = tokens[start : start + wanted]
    period = len(tokens) - start
    while len(draft) < wanted:
        draft.append(draft[len(draft) - period])
    return draft
