"""Fixed evaluation windows: every token of a split is a target exactly once.

The stream is one leading context token (the start token) followed by the corpus; an
`EvaluationSet` may put that token in place of the first that any window feeds in.
Windows start every `stride` tokens; each sees up to `context` tokens and scores
those that no earlier window has scored. Pure arithmetic; draws no random number.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """One forward pass over a corpus of n tokens.

    Attributes:
        first_input: index in the stream (start token + corpus) of the first token fed in.
        first_target: index in the corpus of the first token scored.
        end: index in the corpus after the last token scored, and so the index in the
            stream after the last token fed in.
    """

    first_input: int
    first_target: int
    end: int

    @property
    def inputs(self) -> int:
        """Tokens fed in."""
        return self.end - self.first_input

    @property
    def targets(self) -> int:
        """Tokens scored: the last `targets` positions of the window."""
        return self.end - self.first_target


def plan_windows(
    tokens: int, context: int, stride: int | None = None, budget: int | None = None
) -> list[Window]:
    """Cover a corpus of `tokens` tokens with windows, or spread a budget evenly over it.

    Args:
        tokens: length of the corpus.
        context: most tokens that a window feeds in.
        stride: tokens between window starts, 1..context; None means context.
        budget: score about this many tokens, in whole windows whose middles are spread
            evenly over the corpus. Each window is the one that the full plan would use,
            so a budget scores a subset of the full split.
    """
    step = context if stride is None else stride
    ends = [min(context, tokens)]
    while ends[-1] < tokens:
        ends.append(min(ends[-1] + step, tokens))
    starts = [0, *ends[:-1]]
    windows = [
        Window(max(0, end - context), start, end) for start, end in zip(starts, ends, strict=True)
    ]
    if budget is None or budget >= tokens:
        return windows
    wanted = min(len(windows), max(1, round(budget / step)))
    return [windows[(2 * i + 1) * len(windows) // (2 * wanted)] for i in range(wanted)]
