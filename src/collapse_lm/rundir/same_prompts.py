"""Are the prompts of a run still those that its rows hold?

The rows are the witness: they hold the ids of every prompt, whichever version wrote them.
"""

from collections.abc import Iterator

from collapse_lm.config.parts import Own
from collapse_lm.errors import Problem
from collapse_lm.experiment.build import Parts
from collapse_lm.rundir.resume import Resumable

_Ids = tuple[int, ...]
_SHOWN = 12  # ids of a prompt in a message


def other_prompts(run: Resumable, parts: Parts) -> list[Problem]:
    """Return a problem where a recorded sample has another prompt than it would get now."""
    for update, recorded in _recorded(run, is_own=isinstance(run.config.source, Own)):
        now = parts.context.prompts.of(update, len(recorded))
        for before, prompt in zip(recorded, now, strict=True):
            if before and before != prompt:
                return [_problem(before, prompt)]
    return []


def _recorded(run: Resumable, *, is_own: bool) -> Iterator[tuple[int, list[_Ids]]]:
    """The prompts of what the current model drew, by update."""
    for row in run.snapshot.samples:
        yield row.update, [text.prompt for text in row.probe]
        if is_own:
            yield row.update, [text.prompt for text in row.texts]


def _problem(before: _Ids, now: _Ids) -> Problem:
    return Problem(
        "prompts",
        f"the ids {_told(now)}",
        f"{_told(before)}, as the run began",
        "restore the tokenizer; or start a new run, with sampling.prompt_start=never for prompts "
        "without what a tokenizer puts before a text",
    )


def _told(ids: _Ids) -> str:
    return ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
