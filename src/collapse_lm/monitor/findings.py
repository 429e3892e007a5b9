"""What an observation tells: the states that it shows, and a sentence for a human. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from collapse_lm.measures.endings import MOST_OVERLAP
from collapse_lm.measures.names import Number, Row
from collapse_lm.monitor.states import DRIFT, States, Told

Stream = Literal["probe", "rollouts"]
_SAMPLES = {"probe": "samples", "rollouts": "texts"}


@dataclass(frozen=True)
class Finding:
    """What one observation tells.

    Attributes:
        step: of the trainer.
        stream: probe for samples that the monitor drew, rollouts for those of the trainer.
        shown: the states that this observation shows: a warning.
        entered: the states that the model is in, by the rule's patience, each with its onset,
            the step of the first observation of the streak: the verdict.
        is_new: one of them was entered with this observation.
        broken_at_start: the samples were degenerate before any training, and still are.
        should_stop: a state other than drift was entered, and `on_collapse` is stop.
        values: the numbers of the observation by name (docs/run-format.md).
        message: all this in a sentence.
    """

    step: int
    stream: Stream
    shown: tuple[str, ...] = ()
    entered: Mapping[str, int] = field(default_factory=dict)
    is_new: bool = False
    broken_at_start: bool = False
    should_stop: bool = False
    values: Mapping[str, Number] = field(default_factory=dict, repr=False)
    message: str = ""


def sentence(stream: Stream, told: Told, row: Row, states: States) -> str:
    """An observation in words, with its numbers and those of the baseline.

    Args:
        stream: whose.
        told: its states.
        row: its numbers, by the names of a probe.
        states: of the stream.
    """
    start = f"step {row.update}, {stream}"
    if told.broken_at_start:
        share = f"{_share(row, states):.0%} of the {_SAMPLES[stream]} are degenerate"
        return _spaced(f"{start}: broken at the start: {share}, and were before any training")
    parts = [_state(state, told, row, states, _SAMPLES[stream]) for state in _named(told)]
    if not is_finite(row):
        parts.append("its losses are no finite numbers: look at the weights, and the steps before")
    return _spaced(f"{start}: {'; '.join(parts) or _sound(row, states)}")


def is_finite(row: Row) -> bool:
    """False for a probe of a model whose numbers are infinite, or none."""
    losses = [row.values[name] for name in ("probe.entropy", "probe.loss") if name in row.values]
    return all(map(math.isfinite, [*losses, *row.labelled("validation.loss").values()]))


def baseline_sentence(told: Told, row: Row) -> str:
    """The baseline in words."""
    share = row.get("base_samples.degenerate_share")
    start = f"baseline at step {row.update}"
    if told.broken_at_start:
        look = "look at prompts, chat template, tokenizer and weights"
        return _spaced(
            f"{start}: broken at the start: {share:.0%} of the samples are degenerate; {look}"
        )
    levels = f"entropy {row.get('base_samples.entropy'):.2f} nats"
    levels += f", {row.get('base_samples.length'):.0f} tokens a sample, {share:.0%} degenerate"
    losses = row.labelled("validation.loss")
    told_loss = [f", {loss:.3f} nats/token on {name}" for name, loss in losses.items()]
    return _spaced(f"{start}: {levels}{''.join(told_loss)}")


def _spaced(text: str) -> str:
    return text.replace("%", " %")


def _named(told: Told) -> list[str]:
    """The states to tell: those that are shown, then those that it is in; drift comes last."""
    named = dict.fromkeys([*told.shown, *told.entered])
    return sorted(named, key=lambda state: state == DRIFT)


def _state(state: str, told: Told, row: Row, states: States, samples: str) -> str:
    since = told.entered.get(state)
    first = f"{state} since step {since}" if since is not None else f"a first sign of {state}"
    if state not in told.shown:
        return f"{first}, though not in this one"
    return f"{first}: {', '.join(_REASONS[state](row, states, samples))}"


def _loop(row: Row, states: States, samples: str) -> Iterator[str]:
    before = states.start.get("base_samples.degenerate_share")
    yield f"{_share(row, states):.0%} of the {samples} are degenerate{_start(before, '.0%')}"


def _mode(row: Row, states: States, samples: str) -> Iterator[str]:
    base, rule = states.endings.base, states.endings.rule
    known = base.overlap + (1 - base.overlap) * rule.overlap
    if base.overlap <= MOST_OVERLAP and row.get("pool.overlap") >= known:
        share = f"{row.get('pool.overlap'):.0%} of the 4-grams stood in the {samples} before"
        yield share + _start(base.overlap, ".0%")
    if row.get("probe.entropy") < rule.low_entropy * base.entropy:
        yield f"entropy {row.get('probe.entropy'):.2f} nats{_start(base.entropy, '.2f')}"
    falls = {n: row.get(f"pool.distinct_{n}") / level for n, level in base.distinct.items()}
    falls = {n: fall for n, fall in falls.items() if fall <= rule.distinct}
    if falls:
        n = min(falls, key=lambda n: falls[n])
        now = row.get(f"pool.distinct_{n}")
        yield f"{now:.0%} distinct {n}-grams{_start(base.distinct[n], '.0%')}"


def _noise(row: Row, states: States, samples: str) -> Iterator[str]:
    before = states.endings.base.entropy
    yield f"entropy {row.get('probe.entropy'):.2f} nats{_start(before, '.2f')}"
    yield from _drift(row, states, samples)


def _shrink(row: Row, states: States, samples: str) -> Iterator[str]:
    before = states.endings.base.length
    yield f"{row.get('probe.length'):.1f} tokens a text{_start(before, '.1f')}"


def _drift(row: Row, states: States, samples: str) -> Iterator[str]:
    changes, errors = row.labelled("validation.change"), row.labelled("validation.change_se")
    for name, change in changes.items():
        error = f" (standard error {errors[name]:.2f})" if math.isfinite(errors[name]) else ""
        yield f"{change:+.2f} nats/token on {name}{error}"
    if "prefix.kl" in row.values:
        yield f"{row.get('prefix.kl'):.2f} nats of KL from the start"


def _sound(row: Row, states: States) -> str:
    base, found = states.endings.base, list[str]()
    if "probe.entropy" in row.values:
        now = row.get("probe.entropy")
        found.append(f"entropy {now:.2f} nats{_start(base.entropy, '.2f')}")
    found.append(f"{row.get('probe.length'):.0f} tokens a text{_start(base.length, '.0f')}")
    found += _drift(row, states, "")
    return f"nothing to see: {', '.join(found)}"


def _share(row: Row, states: States) -> float:
    """Share of the samples that are degenerate; of one sample, all or none."""
    one = float(bool(states.endings.shown["loop"]))
    return float(row.values.get("probe.degenerate_share", one))


def _start(value: float, form: str) -> str:
    return f" (at the start {value:{form}})" if math.isfinite(value) else ""


_REASONS = {"drift": _drift, "mode": _mode, "loop": _loop, "noise": _noise, "shrink": _shrink}
