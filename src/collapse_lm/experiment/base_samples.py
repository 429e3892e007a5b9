"""Samples of the base model, for the levels that the states of a run are relative to.

Drawn before the first update with the settings of the run, by random numbers of their own.
Their texts are not kept: what is known of them stands in row 0.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.own import OwnSamples, as_batch
from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import PROBES, Pool
from collapse_lm.measures.seen import degenerate_share


class BaseSamples:
    """A measure of row 0 alone.

    Args:
        samples: draws them, a part at a time.
        count: how many are asked for; whole parts are drawn.
        rule: says which of them are degenerate.
        probe: samples of a probe of the run.
    """

    every = 1

    def __init__(self, samples: OwnSamples, count: int, rule: CollapseRule, probe: int) -> None:
        self._samples, self._count, self._rule, self._probe = samples, count, rule, probe

    def __call__(self, at: Moment, batch: Batch, probe: Batch) -> Mapping[str, Number]:
        """Draw and measure at update 0; nothing later."""
        if at.update:
            return {}
        texts: list[Text] = []
        update = 0
        while len(texts) < self._count:  # updates before the first have numbers and prompts too
            texts += as_batch(self._samples.sample(at.models.sampler, update), "base").texts
            update -= 1
        return base_values(texts[: self._count], self._rule, self._probe)


def base_values(samples: Sequence[Text], rule: CollapseRule, probe: int) -> dict[str, Number]:
    """The levels of samples of one model, by the names of their columns.

    Args:
        samples: one at least, with the entropies of the model that drew them.
        rule: says which of them are degenerate.
        probe: samples of a probe of the run, so that levels are at equal count.
    """
    told: dict[str, Number] = {
        "base_samples.count": len(samples),
        "base_samples.entropy": fmean(value for text in samples for value in text.entropies),
        "base_samples.length": fmean(len(text.ids) for text in samples),
        "base_samples.degenerate_share": degenerate_share(samples, rule),
    }
    return told | pool_levels([text.ids for text in samples], probe)


def pool_levels(samples: Sequence[Sequence[int]], probe: int) -> dict[str, Number]:
    """Means of the measures of the last probes, over all that have enough before them.

    The samples are dealt into probes, in a circle, so that each probe has others before it.

    Args:
        samples: token ids of each.
        probe: samples of a probe.
    """
    probes = [samples[i : i + probe] for i in range(0, len(samples) - probe + 1, probe)]
    if len(probes) <= PROBES:
        return {}
    pool, found = Pool(), list[Mapping[str, Number]]()
    for place, texts in enumerate([*probes, *probes[:PROBES]]):
        told = pool.see(texts)
        if place >= PROBES:
            found.append(told)
    names = dict.fromkeys(name for one in found for name in one)  # samples may have no 4-gram
    return {
        f"base_samples.{name.removeprefix('pool.')}": fmean(
            one[name] for one in found if name in one
        )
        for name in names
    }
