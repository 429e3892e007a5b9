"""A monitor for any training loop: it is shown the model, or texts, and tells what it sees.

    monitor = Monitor(tokenizer)
    for step, batch in enumerate(batches, 1):
        ...                                             # your step
        if monitor.is_due(step):
            monitor.observe(model, step=step)           # says what it sees
    monitor.close()

Two streams are told apart: probes, which the monitor draws itself on fixed prompts, and
rollouts, which the trainer samples for its own ends.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.measures.endings import STATES
from collapse_lm.measures.names import Number, Row
from collapse_lm.monitor.describe import unknown_model
from collapse_lm.monitor.findings import Finding, Stream, baseline_sentence, is_finite, sentence
from collapse_lm.monitor.healthy import Healthy
from collapse_lm.monitor.held_out import corpus_of
from collapse_lm.monitor.manners import left_as_found
from collapse_lm.monitor.pace import Pace
from collapse_lm.monitor.reading import require_tokenizer
from collapse_lm.monitor.record import UNSEEN, MonitorRecord, new_place
from collapse_lm.monitor.rollouts import RolloutStates, rollouts_of
from collapse_lm.monitor.settings import MonitorSettings
from collapse_lm.monitor.states import OF_TEXTS, States, Told
from collapse_lm.monitor.voice import be_heard
from collapse_lm.monitor.watched import Watched

_LOG = logging.getLogger("collapse_lm.monitor")
_IN_THE_RECORD_ALONE = (  # by their first letters: a log of every step has no room for all
    *("base_samples.", "rollouts.start_", "seconds.", "validation.tokens"),
    *("validation.perplexity", "validation.word_perplexity", "text.loop_period"),
    *("probe.loss", "probe.sampling_entropy", "probe.top1", "probe.forward_passes"),
    *("prefix.kl_reverse", "prefix.effective_vocabulary", "prefix.top1"),
    *("text.distinct_1", "text.distinct_3", "text.compression", "pool.distinct_3"),
    *("rollouts.distinct_1", "rollouts.distinct_3", "rollouts.compression", "rollouts.count"),
    *("rollouts.pool_distinct_3", "rollouts.pool_length", "rollouts.loop_period"),
)
_NEVER = "a monitor that has not observed anything"
_NEXT = "the next look is due in %s, by the budget of %.0f %% (every=N: at each Nth step)"
_NO_LOOK = (
    "there was no probe after the baseline: the budget allowed none in so short a training "
    "(every=N, a larger budget, or fewer and shorter samples)"
)


class Monitor:
    """Watches a training loop.

    Args:
        tokenizer: of the model; a fast one of transformers, or a processor that holds one.
            None: `observe` is given it, and strings of rollouts are cut into words.
        settings: of `MonitorSettings`: out, prompts, samples, max_new_tokens, temperature,
            top_k, stop_at_eos, held_out, held_out_tokens, budget, every, rule, keep_healthy,
            seed, on_collapse, stop_by_rollouts.

    Raises:
        UserError: for a setting, or a tokenizer, that does not fit.
    """

    def __init__(self, tokenizer: Any = None, **settings: Any) -> None:
        self.settings = MonitorSettings(**settings)
        self.settings.config()  # what does not fit is told now
        corpus_of(self.settings.held_out)  # likewise
        if tokenizer is not None:
            require_tokenizer(tokenizer)
        be_heard()
        self._tokenizer = tokenizer
        self._pace = Pace(self.settings.every, self.settings.budget)
        self._record: MonitorRecord | None = None
        self._summary: dict[str, Any] | None = None
        self._watched: Watched | None = None
        self._probes = States(self.settings.rule)
        self._rollouts = RolloutStates(self.settings.rule)
        self._healthy = Healthy(is_wanted=self.settings.keep_healthy)
        self._latest: dict[str, dict[str, float]] = {}  # by stream

    @property
    def path(self) -> Path:
        """The run directory.

        Raises:
            UserError: before the first observation, where no `out` was given.
        """
        path = self._record.path if self._record else self.settings.out
        if path is None:
            fix = "read it once the training has begun; or give out=PATH"
            raise UserError.single("path", _NEVER, "an observation before", fix)
        return path

    @property
    def healthy_path(self) -> Path | None:
        """The folder of the last healthy model, for `from_pretrained`; None without one.

        It is that of the newest probe that showed nothing, or drift alone.
        """
        return self._healthy.path

    @property
    def latest(self) -> dict[str, float]:
        """The newest numbers that are finite, the main ones, and the states, for a logger.

        By `collapse/NAME`; the record has all.
        """
        share = {"collapse/seconds_share": self._pace.share} if self._latest else {}
        return {n: v for told in (*self._latest.values(), share) for n, v in told.items()}

    def is_due(self, step: int) -> bool:
        """True where the model should be observed at a step: by `every`, or by the budget."""
        if self._record is not None:
            self._record.flush(before=step)
        return self._watched is None or self._pace.is_due(step)

    def start(self, model: Any, step: int = 0) -> Finding:
        """Measure the model as it is: all that comes is told relative to this.

        Args:
            model: a causal language model of transformers, with adapters of peft or without,
                wrapped or not; it is left as it is found.
            step: of the trainer; of a training that goes on, where it does.

        Raises:
            UserError: for a model, tokenizer or text that does not fit, and a second time.
        """
        if self._watched is not None:
            raise UserError.single("start", "a second baseline", "one of each monitor")
        with self._pace.counting(), left_as_found(model):
            watched = Watched(self.settings, model, self._tokenizer)
            record = self._opened(watched.model.provenance.reference)
            _LOG.info("measuring the baseline (%s); the record: %s", watched.plan, record.path)
            values, texts, seconds = watched.baseline(model)
            self._pace.expect(seconds)
            record.describe(watched.config, watched.manifest(step))
            row = Row(step, values)
            first = step if record.step is not None else 0
            record.require_later(first, "probe")
            record.add(first, values, "probe", texts, is_base=True)
            self._watched = watched
        self._probes.take_levels(row, watched.config.collapse)
        told = self._probes.begin(step, row.get("base_samples.degenerate_share"))
        finding = self._told("probe", told, row, baseline_sentence(told, row))
        if wait := self._pace.wait:
            _LOG.info(_NEXT, _duration(wait), 100 * self.settings.budget)
        return finding

    def observe(self, model: Any, tokenizer: Any = None, *, step: int) -> Finding:
        """Draw samples, score the held-out text, and say what they show.

        The first call is the baseline where `start` was not called.

        Args:
            model: the one under training, as it is now.
            tokenizer: of the model, where the monitor was not given it.
            step: of the trainer.

        Raises:
            UserError: for a model that does not fit, and for a step that was observed before.
        """
        self._tokenizer = self._tokenizer or tokenizer
        if self._watched is None:
            return self.start(model, step)
        record = self._opened("model")
        record.require_later(step, "probe")
        with self._pace.probing():
            with left_as_found(model):
                values, probe = self._watched.probe(model, step)
            row = Row(step, values)
            record.add(step, values, "probe", probe.texts)
            told = self._probes.see(row)
            finding = self._told("probe", told, row, sentence("probe", told, row, self._probes))
            if is_finite(row) and not {*told.shown, *told.collapses} - {"drift"}:
                with left_as_found(model):
                    self._healthy.keep(self.path, step, model, self._watched.model.tokenizer)
        return finding

    def observe_texts(
        self, texts: Sequence[Any], step: int, *, log_probs: Any = None, clipped: Any = None
    ) -> Finding:
        """Say what texts show that the model drew for the trainer.

        Args:
            texts: of one step, all of them: strings, or lists of token ids.
            step: of the trainer.
            log_probs: per text the log-probabilities (nats) of its tokens under the model.
            clipped: per text, whether it was cut at the limit.

        Raises:
            UserError: for what is no text, and for a step that was observed before.
        """
        with self._pace.counting():
            tokenizer = getattr(self._tokenizer, "tokenizer", self._tokenizer)
            seen = rollouts_of(texts, log_probs, clipped, tokenizer)
            record = self._opened("texts")
            record.require_later(step, "rollouts")
            values, row, told = self._rollouts.see(step, seen)
            record.add(step, values, "rollouts", seen.texts[: self.settings.samples])
        message = sentence("rollouts", told, row, self._rollouts.states)
        return self._told("rollouts", told, Row(step, values), message)

    def note_training(self, step: int, values: Mapping[str, Number]) -> None:
        """Put numbers of the trainer's own into the record.

        Args:
            step: the newest, or a later one; of an earlier one nothing is noted.
            values: by name: train.loss, train.lr, train.grad_norm.
        """
        if self._record is not None and self._summary is None and self._record.takes(step):
            self._record.add(step, {name: float(value) for name, value in values.items()})

    def close(self, status: str = "finished") -> dict[str, Any]:
        """Write the summary and let go of the record; return the summary.

        Args:
            status: how the training ended: finished, interrupted or failed.
        """
        if self._summary is None and self._record is not None:
            more = {
                "rollout_endings": self._rollouts.states.endings.profile,
                "rollout_rule": self._rollouts.states.endings.rule.model_dump(),
                "healthy_step": self._healthy.step,
                "seconds_share": self._pace.share,
            }
            self._summary = self._record.close(status, more)
            if self._summary["reason"] == UNSEEN:
                _LOG.warning(_NO_LOOK)
        return self._summary or {}

    def _opened(self, name: str) -> MonitorRecord:
        if self._summary is not None:
            raise UserError.single("monitor", "one that is closed", "a new one for a new training")
        if self._record is None:
            path = self.settings.out or new_place(name)
            self._record = MonitorRecord(path, self.settings.config(name), unknown_model(name))
        return self._record

    def _told(self, stream: Stream, told: Told, row: Row, message: str) -> Finding:
        """Make the finding, log it, and do what was asked for."""
        asked = self.settings.on_collapse
        finding = Finding(
            step=row.update,
            stream=stream,
            shown=told.shown,
            entered=told.entered,
            is_new=bool(told.new),
            broken_at_start=told.broken_at_start,
            should_stop=asked == "stop"
            and bool(told.collapses)
            and (stream == "probe" or self.settings.stop_by_rollouts),
            values=row.values,
            message=message,
        )
        self._note(finding)
        routine = logging.INFO if stream == "probe" else logging.DEBUG  # rollouts come every step
        _LOG.log(logging.WARNING if told.is_news else routine, "%s", message)
        if callable(asked) and set(told.new) & set(told.collapses):
            asked(finding)
        return finding

    def _note(self, finding: Finding) -> None:
        """Take the numbers and states of an observation into `latest`."""
        is_probe = finding.stream == "probe"
        start = "collapse/" if is_probe else "collapse/rollouts/"
        known = STATES if is_probe else OF_TEXTS
        numbers = {
            n: float(v) for n, v in finding.values.items() if not n.startswith(_IN_THE_RECORD_ALONE)
        }
        states = {f"{start}state/{s}": float(s in finding.entered) for s in known}
        finite = {f"collapse/{n}": v for n, v in numbers.items() if math.isfinite(v)}
        self._latest[finding.stream] = finite | states


def _duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    return f"about {seconds / 60:.0f} minutes"
