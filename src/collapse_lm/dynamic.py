"""Dynamic evaluation: a text is scored segment by segment, and each is trained on once scored.

Krause et al. 2018 (arXiv 1709.07432). It is an ordinary run with the source `real` in the
order `stream`: its train loss, taken before each step, is the dynamic loss. Added are the
losses of the untrained model on the same tokens, and the paired difference.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.config import Config, Overrides, resolve
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.lengths import check_positions, default_context
from collapse_lm.experiment.ready import ReadyModel, ready_model
from collapse_lm.measures.change import block_sizes
from collapse_lm.measures.validation import score
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.layout import SUMMARY, RunDirectory, holds_run
from collapse_lm.rundir.process import RunResult
from collapse_lm.rundir.resume import overrides_to
from collapse_lm.rundir.session import begin, resume

_LOG = logging.getLogger(__name__)
SEGMENT, RATE = 200, 1e-5
_VALIDATION_TOKENS = 2048  # of the same corpus, at the beginning and at the end
_SETTLED = (  # what the command decides, or what would make the train loss another loss
    *("source.kind", "source.corpus", "source.order", "sampling.max_new_tokens"),
    *("run.max_updates", "training.window", "training.retokenize", "training.dropout"),
    "collapse.stop",
)


@dataclass(frozen=True)
class Static:
    """The untrained model on the tokens that are scored dynamically.

    Attributes:
        by_update: mean nats per token of the segments of each update, each segment seeing the
            token before it and itself, as in the run.
        tokens: scored.
        longest: the longest context of the model, in tokens.
        loss_at_longest: mean nats per token at that context.
    """

    by_update: NDArray[np.float64]
    tokens: int
    longest: int
    loss_at_longest: float


def dynamic_eval(
    model: str | Path,
    corpus: str,
    *,
    tokens: int | None = None,
    segment: int = SEGMENT,
    out: Path | str | None = None,
    overrides: Overrides = (),
    observers: Sequence[Any] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Score a text while the model learns it, each segment before the step on it.

    Args:
        model: smollm2-135m, a name on the hub, or a local folder.
        corpus: a name, or text:PATH.
        tokens: about as many from its beginning, in whole segments; None takes all.
        segment: tokens of a step.
        out: run directory; by default a new one below runs/. One that holds the same
            evaluation goes on with it.
        overrides: further keys of the run; without any, AdamW with a learning rate of 1e-5.
        observers: as for `run`.
        should_stop: asked after every step.

    Returns:
        The run, with these in its summary (and summary.json): `static_loss`, of the untrained
        model in the same segments, `static_context`; `static_loss_longest`, at the context
        `longest_context`; `dynamic_loss`; `difference`, dynamic minus static in the same
        segments, `difference_lower` and `difference_upper`, the limits of its 95 % interval
        (see `block_bootstrap`); `static_losses`, by update, beside the dynamic ones in the rows;
        `tokens`, `segments`. Losses are in nats per token. A run that was interrupted has none
        of them yet.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail.
    """
    config, ready, static = _prepared(str(model), corpus, tokens, segment, overrides)
    more: dict[str, Any] = {"observers": observers, "should_stop": should_stop}
    if out is not None and holds_run(Path(out)):
        result = resume(out, overrides=overrides_to(Path(out), config), **more)
    else:
        result = begin(config, out, ready=ready, **more)
    if result.summary["status"] == "interrupted":
        return result
    summary = {**result.summary, **_outcome(result, static, config)}
    directory = RunDirectory(result.directory)
    return RunResult(result.directory, directory.write_json(SUMMARY, summary))


def _prepared(
    model: str, corpus: str, tokens: int | None, segment: int, overrides: Overrides
) -> tuple[Config, ReadyModel, Static]:
    """The configuration of the run, its model, and what that says of the text before it."""
    if min(segment, segment if tokens is None else tokens) < 1:
        raise UserError.single("dynamic-eval", f"{tokens} in {segment}", "1 token or more of each")
    values = settings(model, corpus, segment, 1)
    loaded = load_corpus(corpus)  # a missing file is told before a model is loaded
    batch = resolve(values, overrides).sampling.batch_size
    ready = ready_model(resolve(values, overrides))
    check_positions(ready.model, {"--segment": segment})
    tokenizer, start = ready.model.tokenizer, ready.model.start_token
    data = EvaluationSet.build(loaded, tokenizer, start, segment)
    updates = min(tokens or data.split_tokens, data.split_tokens) // (segment * batch)
    if not updates:
        got = f"{min(tokens or data.split_tokens, data.split_tokens)} tokens to score"
        raise UserError.single("dynamic-eval", got, f"{segment * batch} at least", "--segment")
    values = settings(model, corpus, segment, updates)
    config = resolve(values, overrides)
    _require_settled(config, resolve(values))
    return config, ready, static_losses(ready, data, updates, batch)


def settings(model: str, corpus: str, segment: int, updates: int) -> dict[str, Any]:
    """What a run must differ in from the defaults to be a dynamic evaluation."""
    return {
        "model": model,
        "source": {"kind": "real", "corpus": corpus, "order": "stream"},
        "sampling": {"max_new_tokens": segment},
        "training": {"learning_rate": RATE},
        "probe": {"every": updates + 1},  # none: nothing is drawn
        "evaluation": {
            "corpora": [corpus],
            "context": segment,
            "every": updates,
            "tokens": _VALIDATION_TOKENS,
        },
        "collapse": {"stop": False},
        "run": {"max_updates": updates, "checkpoints_kept": 0},
    }


def _require_settled(config: Config, wanted: Config) -> None:
    """Refuse overrides with which the train loss would not be the dynamic loss."""
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


def static_losses(ready: ReadyModel, data: EvaluationSet, updates: int, batch: int) -> Static:
    """Score a model on the first segments of a text, and on the same tokens at its longest context.

    Args:
        ready: the model.
        data: the text, in windows of one segment.
        updates: how many are scored, `batch` segments in each.
        batch: segments of an update.
    """
    count = updates * batch
    total = count * data.context
    _LOG.info("scoring %d tokens with the untrained model", total)
    short = replace(data, windows=data.windows[:count])
    longest = min(ready.model.max_positions or default_context(ready.model), total)
    check_positions(ready.model, {"context": longest})
    windows = tuple(plan_windows(total, longest))
    long = replace(data, windows=windows, context=longest, stride=longest)
    blocks = iter(score(ready.evaluator, short)[1].tolist())
    sizes = block_sizes([window.targets for window in short.windows])
    by_segment = [sum(next(blocks) for _ in window) for window in sizes]
    by_update = np.asarray(by_segment).reshape(updates, -1).sum(1) / (batch * data.context)
    return Static(by_update, total, longest, score(ready.evaluator, long)[0].loss)


def _outcome(result: RunResult, static: Static, config: Config) -> dict[str, Any]:
    """The losses and their difference; NaN where the run diverged before its end."""
    rows = RunReader(result.directory).updates()
    dynamic = np.full(len(static.by_update), np.nan)
    for row in rows[1:]:
        dynamic[row.update - 1] = row.get("train.loss")
    difference = asdict(block_bootstrap(list(dynamic - static.by_update), seed=config.seed))
    return {
        "static_loss": float(static.by_update.mean()),
        "static_context": config.sampling.max_new_tokens,
        "static_loss_longest": static.loss_at_longest,
        "longest_context": static.longest,
        "dynamic_loss": float(dynamic.mean()),
        "difference": difference["value"],
        "difference_lower": difference["lower"],
        "difference_upper": difference["upper"],
        "static_losses": static.by_update.tolist(),
        "tokens": static.tokens,
        "segments": len(dynamic) * config.sampling.batch_size,
    }
