"""A reward function that rewards nothing: through it a trainer shows what it samples.

For GRPO, RLOO and any other trainer that takes reward functions as trl calls them. Knows
nothing of the monitor but whom to show the texts.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from collapse_lm.monitor.trainers import Rollouts, is_clipped


class Reward:
    """Zero for every completion, and each batch of them shown to who watches.

    Args:
        show: takes a function that makes the rollouts of a call.
        ends: the ids that end a text, at the time of a call.
    """

    def __init__(
        self, show: Callable[[Callable[[], Rollouts]], None], ends: Callable[[], Collection[int]]
    ) -> None:
        self.__name__ = "collapse_monitor"  # by which a trainer logs it
        self._show, self._ends = show, ends

    def __call__(
        self,
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Show completions, as their ids where these are told.

        Args:
            prompts: not looked at.
            completions: strings, or conversations.
            completion_ids: of the completions, each with its end where it has one.
            columns: whatever else a trainer tells its reward functions.

        Returns:
            A zero for each completion.
        """
        self._show(lambda: self._rollouts(completions, completion_ids))
        return [0.0] * len(completion_ids if completions is None else completions)  # type: ignore[arg-type]

    def _rollouts(self, completions: Any, completion_ids: Any) -> Rollouts:
        if completion_ids is None:
            return Rollouts([spoken(completion) for completion in completions])
        texts = [[int(number) for number in ids] for ids in completion_ids]
        ends = self._ends()
        return Rollouts(texts, [is_clipped(text, ends) for text in texts] if ends else None)


def spoken(completion: Any) -> str:
    """The words of a completion: it is a string, a message or a conversation of messages."""
    if completion is None:  # a message that is a tool call has no content
        return ""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, dict):
        return spoken(completion.get("content", completion.get("text")))
    return "\n".join(filter(None, map(spoken, completion)))
