"""`collapse-lm eval`: how well a model predicts real text."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from collapse_lm.cli import tables
from collapse_lm.cli.options import ModelReference, told_as_options
from collapse_lm.cli.output import AsJson, show
from collapse_lm.config import resolve

_OPTIONS = {
    "evaluation.corpora": "--corpus",
    "evaluation.context": "--context",
    "evaluation.stride": "--stride",
    "evaluation.start_token": "--start-token",
    "evaluation.tokens": "--tokens",
}


class StartToken(StrEnum):
    """Which windows begin with the start token."""

    first = "first"
    every = "every"


def evaluate(
    model: ModelReference,
    corpus: Annotated[list[str], typer.Option(help="A name, or text:PATH; repeatable.")],
    context: Annotated[
        int | None,
        typer.Option(min=1, help="In tokens. Default: what the model has, at most 1024."),
    ] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Default: the context.")] = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="About as many, in whole windows. Default: the full split."),
    ] = None,
    start_token: Annotated[
        StartToken, typer.Option(help="Windows that begin with the start token.")
    ] = StartToken.first,
    as_json: AsJson = False,
) -> None:
    """Score a model on real text: loss, perplexity, bits per byte, word perplexity."""
    given = {"context": context, "stride": stride, "tokens": tokens}
    with told_as_options(_OPTIONS):
        found = _scores(model, {"corpora": corpus, "start_token": start_token.value, **given})
    show(found, as_json, lambda: tables.evaluation_table(found))


def _scores(model: str, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Losses, with all without which they do not compare."""
    from collapse_lm.experiment.build import evaluation_sets, load_corpora
    from collapse_lm.experiment.lengths import (
        check_positions,
        default_context,
        evaluation_lengths,
    )
    from collapse_lm.experiment.ready import ready_model
    from collapse_lm.measures.validation import evaluate_all, known
    from collapse_lm.rundir.manifest import describe_corpus

    wide = {**evaluation, "context": evaluation["context"] or evaluation["stride"] or 1}
    config = resolve({"model": model, "evaluation": wide})
    corpora = load_corpora(config)  # a missing file is told before a model is loaded
    ready = ready_model(config)
    if evaluation["context"] is None:
        wide["context"] = default_context(ready.model)
        config = resolve({"model": model, "evaluation": wide})
    check_positions(ready.model, evaluation_lengths(config))
    sets = evaluation_sets(config, ready.model, corpora)
    losses = evaluate_all(ready.evaluator, sets)
    return {
        "model": asdict(ready.model.provenance),
        "precision": ready.phases.evaluation,
        "corpora": [describe_corpus(data) for data in sets],
        "validation": {name: known(loss) for name, loss in losses.items()},
    }
