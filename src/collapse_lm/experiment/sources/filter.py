"""Texts that break a rule are not trained on: others are drawn in their place, up to a cap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar

from collapse_lm.config.sections import CollapseRule
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.around import Draw, together
from collapse_lm.measures.rule import reasons
from collapse_lm.measures.seen import observed


@dataclass(frozen=True)
class Limits:
    """What a text must not be.

    Attributes:
        rule: it is degenerate, as the collapse rule sees a sample; None asks for nothing.
        least_entropy: mean predictive entropy (nats) of the model that drew it, over its
            tokens, is below this.
        least_perplexity: its perplexity under the model that drew it is below this.
    """

    rule: CollapseRule | None = None
    least_entropy: float | None = None
    least_perplexity: float | None = None

    def breaks(self, text: Text) -> bool:
        """True where one of them holds; what no model drew has no entropy and no perplexity."""
        loss = -fmean(text.log_probs) if text.log_probs else math.nan
        entropy = fmean(text.entropies) if text.entropies else math.nan
        is_dull = self.least_perplexity is not None and loss < math.log(self.least_perplexity)
        is_certain = self.least_entropy is not None and entropy < self.least_entropy
        return is_dull or is_certain or self._is_degenerate(text)

    def _is_degenerate(self, text: Text) -> bool:
        return self.rule is not None and bool(reasons(observed(text), self.rule))


class Filter:
    """Draws until `keep` texts break no limit.

    At the cap, the newest of the texts that were rejected fill up what is missing, so that
    an update always trains on `keep` texts.

    Args:
        limits: of the texts.
        keep: texts of a batch.
        most_draws: draws from within in one update, at least one.
    """

    counts: ClassVar[Mapping[str, str]] = {}

    def __init__(self, limits: Limits, keep: int, most_draws: int) -> None:
        self._limits, self._keep, self._most = limits, keep, most_draws

    def draw(self, at: Moment, of: Draw) -> Batch:
        """The first texts that break no limit; of a draw that is repeated, other numbers."""
        good, bad, batches = list[Text](), list[Text](), list[Batch]()
        while len(good) < self._keep and len(batches) < self._most:
            attempt = at.attempt * self._most + len(batches)
            batches.append(of(replace(at, attempt=attempt)))
            for text in batches[-1].texts:
                (bad if self._limits.breaks(text) else good).append(text)
        missing = max(0, self._keep - len(good))
        kept = [*good[: self._keep], *_newest(bad, missing)]
        told = {
            "filter.drawn": len(good) + len(bad),
            "filter.rejected": len(bad),
            "filter.forced": len(kept) - min(len(good), self._keep),
        }
        return Batch(tuple(kept), {**together(batches), **told})

    def note(self, texts: tuple[Text, ...]) -> tuple[Text, ...]:
        """All come from within."""
        return texts


def check_others(same_again: str) -> None:
    """Refuse what gives the same texts again: these would be trained on twice, not replaced.

    Args:
        same_again: what does so, in words; empty where nothing does.

    Raises:
        UserError: naming it.
    """
    if same_again:
        got = f"{same_again}, the same each time that filter asks in an update"
        expected = "a source within that gives other texts each time"
        fix = "order: random, sampling that is not greedy, or mix around filter (not within it)"
        raise UserError.single("source.of", got, expected, fix)


def check_enough(keep: int, count: int, most_draws: int) -> None:
    """Refuse to keep more texts than all draws of `count` give.

    Raises:
        UserError: naming the key.
    """
    if keep > count * most_draws:
        most = f"at most {count * most_draws}, what {most_draws} draws of {count} give"
        raise UserError.single("source.keep", keep, most, "a larger source.most_draws")


def _newest(texts: Sequence[Text], count: int) -> Sequence[Text]:
    return texts[max(0, len(texts) - count) :]
