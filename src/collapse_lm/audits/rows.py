"""The rows of an audit: a group's numbers by the names of a probe, under the number of its step.

So whatever reads the rows of a run reads those of an audit.
"""

from collections.abc import Iterator, Sequence

from collapse_lm.audits.groups import Group, Ids
from collapse_lm.audits.levels import Baseline
from collapse_lm.audits.together import Pool, first_of
from collapse_lm.audits.tokens import tokens_of
from collapse_lm.errors import UserError
from collapse_lm.measures.names import Number, Row

_CUT_AT = 0.05  # share of all texts that have the same largest length, from which it is a limit
_MOST_UPDATE = 10**9


class Reader:
    """What cuts texts into tokens, and reads them where a model is named.

    Args:
        tokenizer: None is that of the model, else GPT-2's.
        model: None reads none.

    Attributes:
        name: of the model; empty without one.
        tokens: the tokenizer.

    Raises:
        UserError: for both, and for one that cannot be had.
    """

    def __init__(self, tokenizer: str | None, model: str | None) -> None:
        if model is not None and tokenizer is not None:
            told = f"{tokenizer}, beside --model {model}"
            raise UserError.single("--tokenizer", told, "one of the two: a model has its own")
        self.name = model or ""
        self._scorer = None
        if model is None:
            self.tokens = tokens_of(tokenizer)
            return
        from collapse_lm.audits.score import Scorer

        self._scorer = Scorer(model)
        self.tokens = self._scorer.tokens

    def score(self, texts: Sequence[Ids]) -> dict[str, float]:
        """What a model says of some texts; nothing without one."""
        found = self._scorer.score(texts) if self._scorer else {}
        return {name: float(value) for name, value in found.items()}


def rows_of(
    groups: Sequence[Group], numbers: Sequence[int], start: Baseline, reader: Reader
) -> Iterator[Row]:
    """The row of each group.

    Args:
        groups: in order.
        numbers: of them.
        start: tells how many texts are looked at together, and of which length.
        reader: reads them.
    """
    pool, limit = Pool(), _limit(groups)
    for group, number in zip(groups, numbers, strict=True):
        values: dict[str, Number] = group.values()
        if limit:
            values["texts.clipped"] = _clipped(group, limit)
        values |= pool.see(first_of(group, start.size, start.length))
        yield Row(number, {**values, **reader.score(group.kept)})


def _limit(groups: Sequence[Group]) -> int:
    """The largest length, where so many texts have it that they were cut there; else 0."""
    longest = max(group.longest[0] for group in groups)
    count = sum(group.longest[1] for group in groups if group.longest[0] == longest)
    texts = sum(group.count for group in groups)
    return longest if count > 1 and count >= _CUT_AT * texts else 0


def _clipped(group: Group, limit: int) -> float:
    longest, count = group.longest
    return count / group.count if longest == limit else 0.0


def numbers_of(groups: Sequence[Group]) -> list[int]:
    """The steps of groups, where they are whole numbers from 1 on; else their places."""
    keys = [group.key for group in groups]
    if all(isinstance(key, int) and 0 < key < _MOST_UPDATE for key in keys):
        return [int(key) for key in keys if key is not None]
    return list(range(1, len(keys) + 1))


def name_of(group: Group, number: int) -> str:
    """What a group is called."""
    return str(number if group.key is None else group.key)
