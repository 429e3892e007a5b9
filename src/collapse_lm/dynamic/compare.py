"""Several rules over the same tokens, each with values that were tuned on another text.

OUT/settings.json and OUT/summary.json are the record; OUT/RULE and OUT/tuning/... are ordinary
run directories, and what is there is not done again.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from collapse_lm._util.files import write_atomically, writing
from collapse_lm.config import Config
from collapse_lm.config.load import words_of
from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.dynamic.asked import (
    Asked,
    Prepared,
    dynamic_losses,
    prepared,
    run_or_go_on,
)
from collapse_lm.dynamic.gain import Losses, difference, outcome, write_gain
from collapse_lm.dynamic.rules import Rule, tuned
from collapse_lm.dynamic.static import Static, static_losses
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.krause import shared_statistics
from collapse_lm.ngrams.record import EvaluationDirectory, EvaluationResult
from collapse_lm.ngrams.scored import beginning, require_apart
from collapse_lm.rundir.process import RunResult

_LOG = logging.getLogger(__name__)
_TUNING, _TEXT = "tuning", "text.txt"


class _Interrupted(Exception):  # noqa: N818  # no error: it ends a search in the middle
    """A run of the comparison was interrupted."""


@dataclass(frozen=True)
class Tuning:
    """The text that rules are tuned on.

    Attributes:
        name: of its corpus.
        text: its beginning, so that no run reads more of it.
        updates: of a run on it.
    """

    name: str
    text: str
    updates: int


def compare(
    asked: Asked,
    rules: Sequence[Rule],
    tune: str | None,
    tune_tokens: int,
    out: Path | str | None,
    should_stop: Callable[[], bool],
) -> EvaluationResult:
    """Do what of a comparison is not done yet.

    Args:
        asked: of the text that is scored.
        rules: with the values that they have untuned.
        tune: reference of another text; None tunes nothing.
        tune_tokens: as many from its beginning, at most.
        out: the folder, or None.
        should_stop: asked after every step.

    Raises:
        UserError: for bad input, before anything was created.
    """
    _require_free_values(asked)
    corpora = [load_corpus(name) for name in (asked.corpus, tune) if name is not None]
    if tune is not None:
        require_apart(corpora[0], corpora[1], "--tune")
    text, tuning = prepared(asked, rules), None
    if tune is not None:
        data = beginning(corpora[1], text.ready, tune_tokens)
        updates = replace(asked, tokens=tune_tokens).updates(data, text.batch)
        tuning = Tuning(tune, data.corpus.text, updates)
    config = asked.config(rules[0], text.updates)
    settings = _settings(asked, rules, config, text, corpora, tune_tokens)
    record = EvaluationDirectory.opened(out, "dynamic-eval", config.seed, settings)
    if record.result:
        return record.result
    static = static_losses(text.ready, text.data, text.updates, text.batch)
    device = text.ready.phases.device
    del text  # its weights; every run has its own
    return Comparison(asked, rules, config, static, tuning, device, should_stop).run(record)


@dataclass(frozen=True)
class Comparison:
    """What is asked, and what the untrained model says.

    Attributes:
        asked: of the text that is scored.
        rules: with the values that they have untuned.
        config: of the run of the first.
        static: the untrained model.
        tuning: None where nothing is tuned.
        device: where the model computes.
        should_stop: asked after every step.
        tried: values and loss of every run of the tuning, by rule.
    """

    asked: Asked
    rules: Sequence[Rule]
    config: Config
    static: Static
    tuning: Tuning | None
    device: torch.device
    should_stop: Callable[[], bool]
    tried: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """Of a run."""
        return len(self.static.by_update)

    def run(self, record: EvaluationDirectory) -> EvaluationResult:
        """Do its runs, and write what came out."""
        try:
            with shared_statistics():
                done = {rule.name: (rule, run) for rule, run in self._runs(record.path)}
        except _Interrupted:
            return EvaluationResult(record.path, {"status": "interrupted"})
        losses = {name: dynamic_losses(run, self.updates) for name, (_, run) in done.items()}
        write_gain(record.path, self.static, losses, figure=self.config.run.report)
        told = {
            name: {**rule.values(), **outcome(losses[name], self.static, self.config.seed)}
            for name, (rule, _) in done.items()
        }
        return record.finish(self._summary(told, losses), self.device)

    def _runs(self, folder: Path) -> Iterator[tuple[Rule, RunResult]]:
        for rule in self.rules:
            settled = self._tuned(rule, folder / _TUNING) if self.tuning else rule
            _LOG.info("%s with %s", rule.name, ", ".join(_words(settled)))
            config = self.asked.config(settled, self.updates)
            yield settled, self._run(config, folder / rule.name)

    def _run(self, config: Config, out: Path) -> RunResult:
        result = run_or_go_on(config, out, should_stop=self.should_stop)
        if result.summary["status"] == "interrupted":
            raise _Interrupted
        return result

    def _tuned(self, rule: Rule, folder: Path) -> Rule:
        """A rule with the best values on the text of the tuning."""
        assert self.tuning is not None
        text, updates = folder / _TEXT, self.tuning.updates
        with writing(folder):
            folder.mkdir(exist_ok=True)
        write_atomically(text, self.tuning.text)
        asked = replace(self.asked, corpus=f"text:{text}")
        tried: list[dict[str, float]] = []
        self.tried[rule.name] = tried

        def loss(one: Rule) -> float:
            config = _bare(asked.config(one, updates), asked.segment)
            run = self._run(config, folder / "-".join([rule.name, *_words(one)]))
            found = float(dynamic_losses(run, updates).mean())
            told = ", ".join(_words(one))
            _LOG.info("tuning: %s with %s: %.4f nats/token", rule.name, told, found)
            tried.append({**one.values(), "loss": found})
            return found

        return tuned(rule, loss)

    def _summary(self, told: dict[str, Any], losses: dict[str, Losses]) -> dict[str, Any]:
        tuning, static, seed = self.tuning, self.static, self.config.seed
        return {
            "status": "finished",
            **static.summary(self.asked.segment),
            "rules": told,
            "between": {
                f"{one} - {other}": difference(losses[one], losses[other], seed)
                for one, other in combinations(losses, 2)
            },
            "tuned_on": tuning.name if tuning else None,
            "tuned_tokens": tuning.updates * static.tokens // self.updates if tuning else 0,
            "tuning": self.tried,
        }


def _words(rule: Rule) -> list[str]:
    return [f"{value:g}" for value in rule.values().values()]


def _bare(config: Config, tokens: int) -> Config:
    """A run of which only the train losses are wanted."""
    evaluation = config.evaluation.model_copy(update={"tokens": tokens})
    run = config.run.model_copy(update={"report": False, "export_model": False})
    return config.model_copy(update={"evaluation": evaluation, "run": run})


def _require_free_values(asked: Asked) -> None:
    """Refuse overrides of what tells the rules apart."""
    keys = [word.partition("=")[0].strip() for word in words_of(asked.overrides)]
    fixed = ("training.learning_rate", "training.optimizer")
    problems = [
        Problem(key, "one value for all", "what each rule has, or what is tuned", "a single --rule")
        for key in keys
        if key == "training" or key.startswith(fixed)
    ]
    if problems:
        raise UserError(problems)


def _settings(
    asked: Asked,
    rules: Sequence[Rule],
    config: Config,
    text: Prepared,
    corpora: Sequence[Corpus],
    tune_tokens: int,
) -> dict[str, Any]:
    """All that decides a number."""
    named = [{"name": one.name, "sha256": one.sha256} for one in corpora]
    return {
        "evaluation": "dynamic-eval",
        "model": asdict(text.ready.model.provenance),
        "start_token": text.ready.model.start_token,
        "precision": {
            "training": text.ready.phases.training,
            "evaluation": text.ready.phases.evaluation,
        },
        "seed": config.seed,
        "corpus": named[0],
        "tokens": asked.tokens,
        "segment": asked.segment,
        "rules": [{"name": rule.name, **rule.values()} for rule in rules],
        "statistics": asked.statistics,
        "tune": {**named[1], "tokens": tune_tokens} if len(named) > 1 else None,
        "overrides": sorted(words_of(asked.overrides)),
    }
