"""One training under a monitor: what it samples and logs is shown to the monitor, step by step.

Knows no callback, and of the trainer only what its buffer of rollouts and its logs are.
"""

import logging
import math
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.monitor.alerts import Alerts
from collapse_lm.monitor.findings import Finding
from collapse_lm.monitor.guard import Guard
from collapse_lm.monitor.monitor import Monitor
from collapse_lm.monitor.processes import Processes, Word, sharding_of
from collapse_lm.monitor.trainers import Buffer, Rollouts, ends_of

_LOG = logging.getLogger("collapse_lm.monitor")
_NAMES = {"learning_rate": "train.lr", "grad_norm": "train.grad_norm"}
_ROLLOUTS = "collapse/rollouts"


class Training:
    """What a monitor sees of one training, in this process and in agreement with the others.

    Args:
        monitor: that observes in the first process.
        tokenizer: of the model.
        processes: that train together.
        report_to: names of trackers that take alerts.

    Attributes:
        ends: ids that end a text.
        stops: the training is to end.
        guard: calls what may fail.
    """

    def __init__(
        self,
        monitor: Monitor,
        tokenizer: Any,
        processes: Processes,
        report_to: Collection[str] = (),
    ) -> None:
        self.ends: set[int] = set()
        self.stops = False
        self._monitor, self._tokenizer = monitor, tokenizer
        self._processes, self._report_to = processes, report_to
        self.guard, self._alerts = Guard(), Alerts()
        self._buffer, self._given = Buffer(), Rollouts()
        self._fresh: set[str] = set()
        self._has_probes, self._has_rollouts = True, False
        self._is_in_step = self._wants_stop = self._is_over = False

    def begin(self, model: Any, step: int) -> None:
        """Measure the baseline.

        Raises:
            UserError: in every process, where the first cannot start.
        """
        refused = self._begin(model, step) if self._processes.observes else None
        if self._meet(step, is_refused=refused is not None).is_refused:
            expected = "what its message asks for"
            raise refused or UserError.single("monitor", "refused by the first process", expected)

    def _begin(self, model: Any, step: int) -> UserError | None:
        try:
            self.guard.call("the start", lambda: self._start(model, step), passes=UserError)
        except UserError as error:
            return error
        return None

    def _start(self, model: Any, step: int) -> None:
        self.ends = ends_of(self._tokenizer, model)
        sharding = sharding_of(model)
        self._has_probes = sharding is None
        if sharding is not None:
            told = "no probes: the weights lie in pieces (%s); what the trainer samples is watched"
            _LOG.warning(told, sharding)
            return
        if step > 0:
            _LOG.warning("the training goes on: the baseline is the model of step %d", step)
        self._take(self._monitor.observe(model, self._tokenizer, step=step))

    def begin_step(self) -> None:
        """Say that what is sampled from now on is trained on."""
        self._is_in_step = True

    def give(self, make: Callable[[], Rollouts]) -> None:
        """Show what is sampled; what an evaluation samples, between steps, is passed over.

        Args:
            make: makes the rollouts, and may fail.
        """
        if self._is_in_step and self._processes.observes:
            self.guard.call("the samples of a step", lambda: self._keep(make()))

    def _keep(self, rollouts: Rollouts) -> None:
        self._given = self._given + rollouts

    def end_step(self, step: int, model: Any, trainer: Any) -> None:
        """Observe what is to be observed after a step, and agree with the other processes.

        Args:
            step: that has ended.
            model: as it is now.
            trainer: that may hold rollouts; None where it is not known.
        """
        self._is_in_step = False
        if self._is_over:
            return
        if self._processes.observes:
            self.guard.call(f"step {step}", lambda: self._observe(step, model, trainer))
        if self._processes.meets(step):
            self._meet(step)

    def _observe(self, step: int, model: Any, trainer: Any) -> None:
        given, self._given = self._given, Rollouts()
        seen = self._buffer.new(trainer, self.ends) or given
        if seen.texts:
            self._has_rollouts = True
            known = {"log_probs": seen.log_probs, "clipped": seen.clipped}
            self._take(self._monitor.observe_texts(seen.texts, step, **known))
        if self._has_probes and self._monitor.is_due(step):
            self._take(self._monitor.observe(model, step=step))
        self._alerts.send(self._report_to)

    def _take(self, finding: Finding) -> None:
        is_probe = finding.stream == "probe"
        self._fresh |= {n for n in self._monitor.latest if is_probe != n.startswith(_ROLLOUTS)}
        self._alerts.take(finding)
        self._wants_stop |= finding.should_stop

    def log(self, step: int, logs: MutableMapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Add the numbers that are new since the last time to what the trainer logs.

        Args:
            step: of the trainer.
            logs: of the training, as loggers will see it.
            history: the trainer's own, whose newest entry is a copy of logs.
        """
        if self._processes.observes and not self._is_over:
            self.guard.call(f"the log of step {step}", lambda: self._log(step, logs, history))

    def _log(
        self, step: int, logs: MutableMapping[str, Any], history: list[dict[str, Any]]
    ) -> None:
        names = {"loss": self._loss_name(logs), **_NAMES}
        own = {name: logs[key] for key, name in names.items() if _is_number(logs.get(key))}
        self._monitor.note_training(step, own)
        latest, fresh = self._monitor.latest, self._fresh
        new = {n: v for n, v in latest.items() if n in fresh and math.isfinite(v)}
        self._fresh = set()
        logs.update(new)
        if history and history[-1].get("step") == step:
            history[-1].update(new)

    def _loss_name(self, logs: Collection[str]) -> str:
        """What the loss of a trainer is: of one that samples, or rewards, no loss of a text."""
        is_rewarded = any(name.startswith("reward") for name in logs)
        return "train.objective" if self._has_rollouts or is_rewarded else "train.loss"

    def end(self, step: int) -> None:
        """Send what alerts are left, agree a last time, and close the record."""
        if self._is_over:
            return
        self.guard.call("the end", lambda: self._alerts.send(self._report_to))
        self._meet(step)
        self._close("finished")

    def _meet(self, step: int, *, is_refused: bool = False) -> Word:
        failed = self._processes.failure if self.guard.has_failed else 0
        every = self._monitor.settings.every
        agreed = self._processes.meet(
            step,
            Word(failed, is_refused, self._wants_stop),
            every=every if isinstance(every, int) else None,
        )
        if agreed.stop and not self.stops and self._processes.observes:
            _LOG.warning("the training ends here, at step %d: %s", step, _healthy(self._monitor))
        self.stops |= agreed.stop
        if agreed.failed:
            self._switch_off(is_first=self._processes.is_first_of(agreed.failed))
        return agreed

    def _switch_off(self, *, is_first: bool) -> None:
        if is_first:
            self.guard.tell()
        self._close("failed")

    def _close(self, status: str) -> None:
        self._is_over = True
        if not self._processes.observes:
            return
        try:
            self._monitor.close(status)
        except Exception as error:  # a full disk, say: nothing that should end a training
            _LOG.warning("the record is not closed: %s: %s", type(error).__name__, error)


def _healthy(monitor: Monitor) -> str:
    path = monitor.healthy_path
    return "there is no healthy model" if path is None else f"the last healthy model is in {path}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
