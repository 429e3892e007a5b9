"""The command's function: one rule as an ordinary run, or several rules and their tuning.

Added to the train losses of a run are the losses of the untrained model on the same tokens, and
the paired difference.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collapse_lm.config import Overrides
from collapse_lm.dynamic.asked import Asked, dynamic_losses, prepared, run_or_go_on
from collapse_lm.dynamic.compare import compare
from collapse_lm.dynamic.gain import outcome, write_gain
from collapse_lm.dynamic.rules import Rule, rules_of
from collapse_lm.dynamic.static import static_losses
from collapse_lm.errors import UserError
from collapse_lm.ngrams.record import EvaluationResult
from collapse_lm.rundir.layout import SUMMARY, RunDirectory
from collapse_lm.rundir.process import RunResult

SEGMENT, TUNE_TOKENS, STATISTICS = 200, 5000, "sotu-train"


def dynamic_eval(
    model: str | Path,
    corpus: str,
    *,
    tokens: int | None = None,
    segment: int = SEGMENT,
    rule: str | Sequence[str] = "adamw",
    tune: str | None = None,
    tune_tokens: int = TUNE_TOKENS,
    statistics: str = STATISTICS,
    out: Path | str | None = None,
    overrides: Overrides = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult | EvaluationResult:
    """Score a text while the model learns it, each segment before the step on it.

    Args:
        model: smollm2-135m, a name on the hub, or a local folder.
        corpus: a name, or text:PATH.
        tokens: about as many from its beginning, in whole segments; None takes all.
        segment: tokens of a step.
        rule: adamw (the paper's, with a learning rate of 1e-5), sgd or krause; or several, which
            then score the same tokens.
        tune: a text on which the values of each rule are tuned; None takes the defaults.
        tune_tokens: as many from its beginning, at most.
        statistics: text of the gradient statistics of krause.
        out: run directory, or of several rules or after tuning the folder of their runs; by
            default new below runs/. One that holds the same evaluation goes on with it.
        overrides: further keys of the runs.
        observers: as for `run`, of a single rule without tuning.
        should_stop: asked after every step.

    Returns:
        Of one rule without tuning the run, with what docs/methods.md lists added to its summary
        (and summary.json): `static_loss`, `dynamic_loss`, `difference` and the rest, in nats per
        token. Otherwise the folder, whose summary has the static losses, `rules`, `between` for
        each two of them, and `tuning`. Both leave gain.csv. An interrupted one has none of it.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail.
    """
    rules = rules_of(rule)
    asked = Asked(str(model), corpus, tokens, segment, statistics, overrides)
    if len(rules) > 1 or tune is not None:
        if tune_tokens < 1:
            raise UserError.single("--tune-tokens", tune_tokens, "1 token or more")
        return compare(asked, rules, tune, tune_tokens, out, should_stop)
    return _single(asked, rules[0], out, observers=observers, should_stop=should_stop)


def _single(asked: Asked, rule: Rule, out: Path | str | None, **more: Any) -> RunResult:
    """One rule: the run, with what is added to its summary."""
    text = prepared(asked, [rule])
    config = asked.config(rule, text.updates)
    static = static_losses(text.ready, text.data, text.updates, text.batch)
    result = run_or_go_on(config, out, ready=text.ready, **more)
    if result.summary["status"] == "interrupted":
        return result
    dynamic = dynamic_losses(result, text.updates)
    write_gain(result.directory, static, {rule.name: dynamic}, figure=config.run.report)
    summary = {
        **result.summary,
        **static.summary(asked.segment),
        **outcome(dynamic, static, config.seed),
        "static_losses": static.by_update.tolist(),
    }
    directory = RunDirectory(result.directory)
    return RunResult(result.directory, directory.write_json(SUMMARY, summary))
