"""What a dynamic evaluation is asked, as the configuration of a run.

It is an ordinary run with the source `real` in the order `stream`: its train loss, taken before
each step, is the dynamic loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm.config import Config, Overrides, resolve
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.dynamic.rules import Rule
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.lengths import check_positions
from collapse_lm.experiment.ready import ReadyModel, ready_model
from collapse_lm.ngrams.scored import require_apart
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.layout import holds_run
from collapse_lm.rundir.process import RunResult
from collapse_lm.rundir.resume import overrides_to
from collapse_lm.rundir.session import begin, resume

_VALIDATION_TOKENS = 2048  # of the same corpus, at the beginning and at the end
_SETTLED = (  # what the command decides, or what would make the train loss another loss
    *("source.kind", "source.corpus", "source.order", "sampling.max_new_tokens"),
    *("run.max_updates", "training.window", "training.retokenize", "training.dropout"),
    "collapse.stop",
)


@dataclass(frozen=True)
class Asked:
    """What is asked of one text.

    Attributes:
        model: its reference.
        corpus: reference of the text.
        tokens: about as many are scored; None scores all.
        segment: tokens of a step.
        statistics: text of the gradient statistics of krause.
        overrides: of further keys.
    """

    model: str
    corpus: str
    tokens: int | None
    segment: int
    statistics: str
    overrides: Overrides = ()

    def config(self, rule: Rule, updates: int) -> Config:
        """The configuration of its run under a rule.

        Raises:
            UserError: for overrides with which the train loss would not be the dynamic loss.
        """
        values = settings(self, rule, updates)
        config = resolve(values, self.overrides)
        _require_settled(config, resolve(values))
        return config

    def updates(self, data: EvaluationSet, batch: int) -> int:
        """How many updates a text gives, `batch` segments in each.

        Raises:
            UserError: for less than one.
        """
        there = min(self.tokens or data.split_tokens, data.split_tokens)
        updates = there // (self.segment * batch)
        if not updates:
            got, least = f"{there} tokens to score", f"{self.segment * batch} at least"
            fix = "more of it, or a smaller --segment"
            raise UserError.single(f"dynamic-eval of {data.corpus.name}", got, least, fix)
        return updates


@dataclass(frozen=True)
class Prepared:
    """A model that is ready, and the text before it, in windows of a segment."""

    ready: ReadyModel
    data: EvaluationSet
    updates: int
    batch: int


def prepared(asked: Asked, rules: Sequence[Rule]) -> Prepared:
    """Load model and text, and see that all fits.

    Raises:
        UserError: for bad input.
    """
    if min(asked.segment, asked.segment if asked.tokens is None else asked.tokens) < 1:
        got = f"{asked.tokens} in {asked.segment}"
        raise UserError.single("dynamic-eval", got, "1 token or more of each")
    loaded = load_corpus(asked.corpus)  # a missing file is told before a model is loaded
    if any(rule.decay is not None for rule in rules):
        require_apart(loaded, load_corpus(asked.statistics), "--statistics")
    config = resolve(settings(asked, rules[0], 1), asked.overrides)
    ready = ready_model(config)
    check_positions(ready.model, {"--segment": asked.segment})
    data = EvaluationSet.build(
        loaded, ready.model.tokenizer, ready.model.start_token, asked.segment
    )
    batch = config.sampling.batch_size
    return Prepared(ready, data, asked.updates(data, batch), batch)


def settings(asked: Asked, rule: Rule, updates: int) -> dict[str, Any]:
    """What a run must differ in from the defaults to be a dynamic evaluation."""
    return {
        "model": asked.model,
        "source": {"kind": "real", "corpus": asked.corpus, "order": "stream"},
        "sampling": {"max_new_tokens": asked.segment},
        "training": rule.training(asked.statistics),
        "probe": {"every": updates + 1},  # none: nothing is drawn
        "evaluation": {
            "corpora": [asked.corpus],
            "context": asked.segment,
            "every": updates,
            "tokens": _VALIDATION_TOKENS,
        },
        "collapse": {"stop": False},
        "run": {"max_updates": updates, "checkpoints_kept": 0},
    }


def _require_settled(config: Config, wanted: Config) -> None:
    problems = []
    for key in _SETTLED:
        place = key.split(".")
        given, own = (_value(c, place) for c in (config, wanted))
        if given != own:
            problems.append(Problem(key, repr(given), f"{own!r} in a dynamic evaluation"))
    if problems:
        raise UserError(problems)


def _value(section: Any, place: Sequence[str]) -> Any:
    for name in place:
        section = getattr(section, name, None)
    return section


def run_or_go_on(config: Config, out: Path | str | None, **more: Any) -> RunResult:
    """Do a run, or go on with the one that is there; `more` is as for `begin`."""
    if out is not None and holds_run(Path(out)):
        more.pop("ready", None)
        return resume(out, overrides=overrides_to(Path(out), config), **more)
    return begin(config, out, **more)


def dynamic_losses(run: RunResult, updates: int) -> NDArray[np.float64]:
    """Mean nats per token of the segments of each update; NaN past the end of a run that diverged.

    Args:
        run: a dynamic evaluation.
        updates: of a whole one.
    """
    dynamic = np.full(updates, np.nan)
    for row in RunReader(run.directory).updates()[1:]:
        dynamic[row.update - 1] = row.get("train.loss")
    return dynamic
