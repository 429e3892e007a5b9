"""`collapse-lm cache-eval`: a model interpolated with a cache of the newest tokens."""

from pathlib import Path
from typing import Annotated, Any

import typer

from collapse_lm.cli.numbers import numbers_of, told_evaluation
from collapse_lm.cli.options import ModelReference, Settings
from collapse_lm.cli.output import AsJson
from collapse_lm.cli.stopping import StopRequest, until_signal


def cache_eval(
    model: ModelReference,
    corpus: Annotated[str, typer.Option(help="A name, or text:PATH.")],
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="About as many, in whole segments. Default: all of the corpus."),
    ] = None,
    cache: Annotated[int, typer.Option(min=1, help="Tokens that the cache holds.")] = 500,
    segment: Annotated[int, typer.Option(min=1, help="Tokens of the short context.")] = 200,
    tune: Annotated[
        str, typer.Option(help="Text that the weights are tuned on; never the one scored.")
    ] = "sotu-train",
    tune_tokens: Annotated[
        int, typer.Option(min=1, help="As many from its beginning, at most.")
    ] = 10_000,
    weights: Annotated[
        str | None,
        typer.Option(metavar="U,B", help="Of cached unigrams and bigrams, instead of tuning."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the record; the same call again finds it.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a text with a model, and with the model and a cache of the newest tokens.

    Unigrams and bigrams of the last tokens are interpolated with the model. Beside it stands the
    model alone, at the context of a segment and at its longest, with the paired difference.
    """
    given = None if weights is None else numbers_of("--weights", weights, float)

    def work(stop: StopRequest) -> None:
        from collapse_lm.ngrams.cache_eval import cache_eval as evaluate

        result = evaluate(
            model,
            corpus,
            tokens=tokens,
            cache=cache,
            segment=segment,
            tune=tune,
            tune_tokens=tune_tokens,
            weights=given,
            out=out,
            overrides=settings or [],
        )
        told_evaluation(result, as_json, _lines)

    until_signal(work)


def _lines(found: dict[str, Any]) -> list[str]:
    tuned = f", weights tuned on {found['tuned_on']}" if found["tuned_on"] else ""
    lines = [
        f"{found['tokens']} tokens, {found['segments']} segments, "
        f"{found['cached_share']:.1%} of them in the cache of {found['cache']}{tuned}",
    ]
    for suffix, name in {"": "static_context", "_longest": "longest_context"}.items():
        told = {n.removesuffix(suffix): _number(v) for n, v in found.items() if n.endswith(suffix)}
        weights = found[f"weights{suffix}"]
        lines += [
            "",
            f"context {found[name]}: nats/token, perplexity, bits/byte",
            *(
                f"{what:<6} loss  {told[f'{what}_loss']}  {told[f'{what}_perplexity']}"
                f"  {told[f'{what}_bits_per_byte']}"
                for what in ("static", "cache")
            ),
            f"difference   {told['difference']}, 95 % interval "
            f"{told['difference_lower']} to {told['difference_upper']}",
            f"             {told['difference_cached']} where the token is cached, "
            f"{told['difference_not_cached']} where it is not",
            "weights      " + ", ".join(f"{n} {value:.4f}" for n, value in weights.items()),
        ]
    return lines


def _number(value: Any) -> str:
    return "nan" if value is None else format(value, ".4f") if isinstance(value, float) else ""
