"""The monitor as a callback of transformers' Trainer, and of every trainer made of it.

    trainer = Trainer(..., callbacks=[CollapseMonitor(tokenizer)])

It never calls the trainer: its numbers join those that the trainer logs itself. What it does
at each hook is in `training`.
"""

import logging
from collections.abc import Callable, MutableMapping
from itertools import count
from pathlib import Path
from typing import Any
from weakref import ref

from transformers import TrainerCallback

from collapse_lm.monitor.monitor import Monitor
from collapse_lm.monitor.processes import Processes
from collapse_lm.monitor.record import is_free
from collapse_lm.monitor.rewards import Reward
from collapse_lm.monitor.trainers import Rollouts, handler_of, move_before_loggers, trainer_of
from collapse_lm.monitor.training import Training

_LOG = logging.getLogger("collapse_lm.monitor")
_OF_TRAINING = ("loss", "train_runtime")  # what is logged in an evaluation has neither


class CollapseMonitor(TrainerCallback):  # type: ignore[misc]
    """Watches a training for collapse: a baseline, probes, and the trainer's own samples.

    Numbers go to the trainer's loggers as `collapse/NAME`, at its next logging step, and into
    a run directory. With several processes the first one observes: of the samples that a
    trainer draws, those of the first. A second training with the same callback gets a baseline
    and a record of its own, OUT-2, and so does one that is resumed beside its first record.

    Args:
        tokenizer: of the model; None takes the trainer's `processing_class`.
        settings: of `Monitor`.

    Attributes:
        monitor: of the newest training.

    Raises:
        UserError: for a setting that does not fit; when the training begins, for a model,
            tokenizer or text that does not fit. Anything else that goes wrong switches the
            monitor off with one message, and the training goes on.
    """

    def __init__(self, tokenizer: Any = None, **settings: Any) -> None:
        self._tokenizer, self._settings = tokenizer, settings
        self._trainings, self._is_told = 0, False
        self._trainer: Any = _nothing  # a weak reference, as the trainer holds its callbacks
        self.monitor = Monitor(tokenizer, **settings)
        self._training = Training(self.monitor, tokenizer, Processes())

    @property
    def path(self) -> Path:
        """The run directory of the newest training."""
        return self.monitor.path

    @property
    def healthy_path(self) -> Path | None:
        """The folder of its last healthy model, for `from_pretrained`; None without one."""
        return self.monitor.healthy_path

    def as_reward(self) -> Reward:
        """A reward function that is zero, by which trainers that take some show what they sample.

        Only for trainers whose samples are not found by themselves: with GRPO, RLOO and the
        like it changes nothing. Give it the weight 0.
        """
        return Reward(self._show, lambda: self._training.ends)

    def _show(self, make: Callable[[], Rollouts]) -> None:
        if self._trainings == 0 and not self._is_told:
            self._is_told = True
            _LOG.warning("as_reward shows nothing: its monitor is not among the callbacks")
        self._training.give(make)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **others: Any
    ) -> None:
        """Measure the baseline."""
        self._renew(state.global_step)
        tokenizer = self._tokenizer or others.get("processing_class")
        processes = Processes.of(args)
        self._training = Training(self.monitor, tokenizer, processes, args.report_to)
        self._training.begin(model, state.global_step)
        self._training.guard.call("the look for its trainer", self._attach)

    def _renew(self, step: int) -> None:
        """A new monitor for a second training, and for one that goes on in a new process."""
        self._trainings += 1
        settings, out = dict(self._settings), self.monitor.settings.out
        goes_on = step > 0 and out is not None and not is_free(out)
        if self._trainings == 1 and not goes_on:
            return
        if settings.get("out") is not None:
            settings["out"] = _next_to(Path(settings["out"]), max(2, self._trainings))
        self.monitor = Monitor(self._tokenizer, **settings)

    def _attach(self) -> None:
        """Find the trainer, and take a place before its loggers."""
        handler = handler_of(self)
        if handler is not None:
            move_before_loggers(handler, self)
            trainer = trainer_of(handler)
            self._trainer = _nothing if trainer is None else ref(trainer)
        else:
            _LOG.warning("the trainer's loggers are not found: its history and the record tell all")

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Know that what is sampled from now on is trained on."""
        self._training.begin_step()

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **others: Any
    ) -> None:
        """Observe; end the training where that is asked for."""
        self._training.end_step(state.global_step, model, self._trainer())
        if self._training.stops:
            control.should_training_stop = True

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: MutableMapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Add numbers to what the trainer logs of its training."""
        if logs is not None and any(name in logs for name in _OF_TRAINING):
            self._training.log(state.global_step, logs, state.log_history)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Write the summary."""
        self._training.end(state.global_step)


def _next_to(out: Path, number: int) -> Path:
    """The first place with a number behind its name, from this one on, that is free."""
    places = (out.with_name(f"{out.name}-{place}") for place in count(number))
    return next(place for place in places if is_free(place))


def _nothing() -> None:
    """The trainer, where it is not known."""
