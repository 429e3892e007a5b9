"""Are the prompts of a run still those that its rows hold?

The rows are the witness: they hold the ids of every prompt, whichever version wrote them.
"""

from collections.abc import Iterable, Iterator

from collapse_lm.config.parts import Own
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import Context
from collapse_lm.rundir.rows import SampleRow

_Ids = tuple[int, ...]
_SHOWN = 12  # ids of a prompt in a message


def check_same_prompts(rows: Iterable[SampleRow], context: Context) -> None:
    """Refuse to go on where a recorded sample has another prompt than it would get now.

    Raises:
        UserError: naming the first two that differ.
    """
    for update, recorded in _recorded(rows, is_own=isinstance(context.config.source, Own)):
        now = context.prompts.of(update, len(recorded))
        for before, prompt in zip(recorded, now, strict=True):
            if before and before != prompt:
                raise _refused(before, prompt)


def _recorded(rows: Iterable[SampleRow], *, is_own: bool) -> Iterator[tuple[int, list[_Ids]]]:
    """The prompts of what the current model drew, by update."""
    for row in rows:
        yield row.update, [text.prompt for text in row.probe]
        if is_own:
            yield row.update, [text.prompt for text in row.texts]


def _refused(before: _Ids, now: _Ids) -> UserError:
    return UserError.single(
        "prompts",
        f"the ids {_told(now)}",
        f"{_told(before)}, as the run began",
        "restore the tokenizer; or start a new run, with sampling.prompt_start=never for prompts "
        "without what a tokenizer puts before a text",
    )


def _told(ids: _Ids) -> str:
    return ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
