"""Propose the next tokens by n-gram look-up over this sample and earlier ones.

A proposal costs nothing but a dictionary look-up; the model checks all of it in one
pass. A collapsing model repeats itself, so the proposals get better as it collapses.
Proposals never change a token (see `sampler`), only the number of passes.

Memory is bounded and each token costs O(1): the tables hold two generations of
tokens, and the older one is dropped when the newer is full.
"""

from collections.abc import Sequence

_LONGEST = 4
_SHORTEST = 2
_GENERATION = 50_000  # tokens; two generations of tables are about 40 MB
_FIRST_LENGTH = 4


class Generation:
    """Tokens seen, and where each n-gram of them last ended."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ends: dict[tuple[int, ...], int] = {}


class Drafter:
    """Proposes tokens for the samples of a run.

    What it knows is a function of the samples it was shown, in order, so that a
    resumed run that shows it the recorded samples proposes the same tokens.
    """

    def __init__(self, longest_draft: int = 15, generation: int = _GENERATION) -> None:
        self.longest_draft = longest_draft
        self._generation = generation
        self._old, self._new = Generation(), Generation()

    def learn(self, sample: Sequence[int]) -> None:
        """Remember a finished sample."""
        if len(self._new.tokens) >= self._generation:
            self._old, self._new = self._new, Generation()
        tokens, ends = self._new.tokens, self._new.ends
        base = len(tokens)
        tokens.extend(sample)
        tokens.append(-1)  # nothing is proposed across the end of a sample
        for end in range(base + _SHORTEST, base + len(sample) + 1):
            for n in range(_SHORTEST, min(_LONGEST, end - base) + 1):
                ends[tuple(tokens[end - n : end])] = end

    def sequence(self) -> "DraftedSequence":
        """Start a new sample."""
        return DraftedSequence(self)

    def find(self, suffix: tuple[int, ...]) -> tuple[list[int], int] | None:
        """Return (tokens, place after the n-gram's last occurrence) in earlier samples."""
        for generation in (self._new, self._old):
            end = generation.ends.get(suffix)
            if end is not None:
                return generation.tokens, end
        return None


class DraftedSequence:
    """One growing sample: its own n-grams come before those of earlier samples.

    The length of a proposal doubles when all of the last one held and falls to what
    held of it otherwise.
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
        wanted = min(limit, self._length)
        for n in range(min(_LONGEST, len(self._tokens)), _SHORTEST - 1, -1):
            suffix = tuple(self._tokens[-n:])
            end = self._ends.get(suffix)
            found = (self._tokens, end) if end is not None else self._drafter.find(suffix)
            if found is not None:
                return _continuation(*found, wanted)
        return []

    def tell(self, proposed: int, held: int) -> None:
        """Adapt to how many of the proposed tokens held."""
        if proposed and held == proposed:
            self._length = min(2 * self._length, self._drafter.longest_draft)
        elif proposed:
            self._length = min(max(2, held + 1), self._drafter.longest_draft)


def _continuation(tokens: list[int], start: int, wanted: int) -> list[int]:
    """What followed; past the end of a growing sample it follows itself (a loop goes on)."""
    draft = tokens[start : start + wanted]
    if -1 in draft:
        return draft[: draft.index(-1)]
    period = len(tokens) - start
    while len(draft) < wanted:
        draft.append(draft[len(draft) - period])
    return draft
