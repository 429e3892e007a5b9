"""n-grams of a model's samples and of real text, and what both say of a third text.

Knows nothing of networks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.ngrams.counts import Counts, Ints, Texts
from collapse_lm.ngrams.kneser_ney import KneserNey
from collapse_lm.ngrams.mixture import Numbers, mixed, tuned
from collapse_lm.ngrams.real import RealText
from collapse_lm.ngrams.samples import Ids, first_tokens
from collapse_lm.ngrams.scored import Units, by_segment

_SEGMENT = 200  # tokens of the unit of an interval


@dataclass(frozen=True)
class Approximation:
    """What is scored, and how that is told.

    Attributes:
        scored: token ids of the text.
        units: of log p of its tokens.
        vocabulary: number of tokens.
        orders: of the n-grams.
        real: n-grams of it stand beside those of samples; None for none.
        seed: of the intervals.
    """

    scored: Ints
    units: Callable[[Numbers], Units]
    vocabulary: int
    orders: Sequence[int]
    real: RealText | None
    seed: int

    def table(self, drawn: Sequence[Ids], tokens: Sequence[int]) -> dict[str, Any]:
        """Score the text with n-grams of the first tokens of samples (see `ngram_eval`).

        Args:
            drawn: the samples.
            tokens: how many of them, each number by itself.
        """
        whole = self._models(self.real.trained) if self.real else None
        found: dict[str, Any] = {str(order): {} for order in self.orders}
        for count in sorted(tokens):
            of_samples = self._models(first_tokens(drawn, count))
            as_many = None
            if self.real and self.real.tokens >= count:
                as_many = self._models(first_tokens(self.real.trained, count))
            for order, model in of_samples.items():
                told = self._told(model)
                if as_many:
                    told |= {f"real_{n}": v for n, v in self._told(as_many[order]).items()}
                if whole:
                    told |= self._mixture(model, whole[order])
                found[str(order)][str(count)] = told
        told_real = {str(order): self._told(model) for order, model in (whole or {}).items()}
        return {"ngrams": found, **({"real": told_real} if whole else {})}

    def _models(self, texts: Sequence[Ids | Ints]) -> Mapping[int, KneserNey]:
        counts = Counts.of(Texts.of(texts, self.vocabulary), max(self.orders))
        return {order: KneserNey(counts, order) for order in self.orders}

    def _says(self, model: KneserNey, texts: Sequence[Ids | Ints]) -> Numbers:
        return model.log_probs(Texts.of(texts, self.vocabulary))

    def _told(self, model: KneserNey) -> dict[str, Any]:
        return asdict(self.units(self._says(model, [self.scored])))

    def _mixture(self, model: KneserNey, real: KneserNey) -> dict[str, Any]:
        """The interpolation of two models, its weight from the text that is held out."""
        assert self.real is not None
        parts = [self._says(one, self.real.held_out) for one in (model, real)]
        weights = tuned(np.vstack(parts))
        alone = self._says(real, [self.scored])
        both = mixed(np.vstack([self._says(model, [self.scored]), alone]), weights)
        apart = block_bootstrap(list(by_segment(alone - both, _SEGMENT)), seed=self.seed)
        return {
            **{f"mixed_{name}": value for name, value in asdict(self.units(both)).items()},
            "weight": float(weights[0]),
            "difference": float((alone - both).mean()),
            "difference_lower": apart.lower,
            "difference_upper": apart.upper,
        }
