"""What follows from all rows and texts so far: verdict of the rule, dose, the last probes.

A run makes it update by update; a resume makes it again from the record, so that no
checkpoint holds it. Each update costs the same, however long the run is. Knows nothing of
models or files.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from collapse_lm.config.sections import CollapseRule
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.measures.dose import Dose
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.pool import Pool
from collapse_lm.measures.rule import Observation, Verdict, Watch, reasons
from collapse_lm.measures.text import find_loop, seq_rep

_DEFAULTS = CollapseRule()
_ROUNDING = 1e-9  # of a sum of learning rates, as a share of it


class Seen:
    """What a run knows of its past.

    Args:
        rule: thresholds of the collapse rule; by default those of a run.

    Attributes:
        watch: the collapse rule at work.
        dose: of training so far.
        pool: the last probes.
    """

    def __init__(self, rule: CollapseRule = _DEFAULTS) -> None:
        self.watch = Watch(rule)
        self.dose = Dose()
        self.pool = Pool()
        self._dose_when_met = math.nan

    @property
    def verdict(self) -> Verdict:
        """Of the rule, on all rows so far."""
        return self.watch.verdict

    def see(
        self, update: int, values: Mapping[str, Number], batch: Batch, probe: Batch
    ) -> dict[str, Number]:
        """Take an update; return the numbers that follow from it and from those before.

        Args:
            update: the next one.
            values: what its row holds so far: of the step, and of the texts of the probe.
            batch: what it trained on.
            probe: what it is judged by; empty where it has none.
        """
        steps = int(values["train.steps"])
        told = self.dose.add(float(values["train.lr"]), steps, len(batch.texts))
        told |= probe_values(probe.texts, self.watch.rule)
        told |= self._pooled(probe.texts)
        self._judge(Row(update, {**values, **told}))
        return told

    def replay(self, row: Row, batch: Sequence[Text] = (), probe: Sequence[Text] = ()) -> None:
        """Take the record of an update, as `see` did when it was made.

        Args:
            row: the next one, from row 0 on.
            batch: the texts that it trained on, where they are known.
            probe: those that it was judged by, likewise.
        """
        if row.update:
            self.dose.replay(row, len(batch))
        self._pooled(probe)
        self._judge(row)

    def _pooled(self, probe: Sequence[Text]) -> dict[str, Number]:
        return self.pool.see([text.ids for text in probe]) if probe else {}

    def _judge(self, row: Row) -> None:
        was_met = self.verdict.met is not None
        if self.watch.see(row).met is not None and not was_met:
            self._dose_when_met = self.dose.rate

    def is_over(
        self, update: int, max_updates: int, aftermath: int | None, dose: float | None = None
    ) -> bool:
        """True where a run ends with an update, as far as its past tells.

        Args:
            update: the last one.
            max_updates: where it ends in any case.
            aftermath: updates to go on for once the rule is met; None goes on.
            dose: sum of learning rates to go on for; None asks for none.
        """
        met = self.verdict.met
        if aftermath is None or met is None or update >= max_updates:
            return update >= max_updates
        given = self.dose.rate - self._dose_when_met
        has_dose = dose is None or given >= dose * (1 - _ROUNDING)
        return has_dose and update >= met + aftermath


def probe_values(probe: Sequence[Text], rule: CollapseRule) -> dict[str, Number]:
    """Length of the samples of a probe, and of several the share that is degenerate.

    One sample is judged by the numbers of its row, so that another rule can judge it later.
    """
    if not probe:
        return {}
    told: dict[str, Number] = {"probe.length": fmean(len(text.ids) for text in probe)}
    if len(probe) > 1:
        told["probe.degenerate_share"] = degenerate_share(probe, rule)
    return told


def degenerate_share(samples: Sequence[Text], rule: CollapseRule) -> float:
    """Share of samples that are degenerate, each judged by itself."""
    return fmean(bool(reasons(observed(text), rule)) for text in samples)


def observed(text: Text) -> Observation:
    """What the rule looks at in one sample; its loss is NaN where no model drew it."""
    loop = find_loop(text.ids)
    loss = -fmean(text.log_probs) if text.log_probs else math.nan
    return Observation(0, loop.share if loop else 0.0, seq_rep(text.ids), loss)
