"""Many texts in a few tensors: what a source holds of them from one update to the next.

Shapes: N texts, K tokens of all of them, Q tokens of their prompts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import torch
from torch import Tensor

from collapse_lm.experiment.batch import Text


@dataclass(frozen=True)
class Packed:
    """Texts with what the model that drew them told of each token.

    Attributes:
        ids_K: token ids, text after text.
        log_probs_K: log p (nats) of each.
        entropies_K: predictive entropy (nats) at each.
        ends_N: where each text ends in these.
        prompts_Q: token ids of the prompts.
        prompt_ends_N: where each ends in these.
    """

    ids_K: Tensor
    log_probs_K: Tensor
    entropies_K: Tensor
    ends_N: Tensor
    prompts_Q: Tensor
    prompt_ends_N: Tensor

    @classmethod
    def of(cls, texts: Sequence[Text]) -> "Packed":
        """Pack texts, each with log-probabilities and entropies."""
        lengths = torch.tensor([len(text.ids) for text in texts])
        prompts = torch.tensor([len(text.prompt) for text in texts])
        return cls(
            ids_K=torch.tensor([*chain.from_iterable(text.ids for text in texts)]),
            log_probs_K=_floats(text.log_probs for text in texts),
            entropies_K=_floats(text.entropies for text in texts),
            ends_N=lengths.cumsum(0),
            prompts_Q=torch.tensor([*chain.from_iterable(text.prompt for text in texts)]),
            prompt_ends_N=prompts.cumsum(0),
        )

    def text(self, place: int, origin: str) -> Text:
        """One of them, told where it comes from."""
        own, before = _part(self.ends_N, place), _part(self.prompt_ends_N, place)
        return Text(
            prompt=tuple(self.prompts_Q[before].tolist()),
            ids=tuple(self.ids_K[own].tolist()),
            origin=origin,
            log_probs=tuple(self.log_probs_K[own].tolist()),
            entropies=tuple(self.entropies_K[own].tolist()),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> "Packed":
        """Take over what `tensors` gave.

        Raises:
            ValueError: for tensors of something else.
        """
        if set(named) != {field.name for field in fields(cls)}:
            raise ValueError(f"its texts are packed as {', '.join(sorted(named))}")
        return cls(**named)


def _floats(rows: Iterable[Sequence[float]]) -> Tensor:
    return torch.tensor([*chain.from_iterable(rows)], dtype=torch.float64)


def _part(ends_N: Tensor, place: int) -> slice:
    return slice(int(ends_N[place - 1]) if place else 0, int(ends_N[place]))
