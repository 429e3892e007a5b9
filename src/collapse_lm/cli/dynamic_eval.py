"""`collapse-lm dynamic-eval`: how well a model predicts a text while it learns it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from collapse_lm._util.printable import printable
from collapse_lm.cli.options import ModelReference, Settings, told_as_options
from collapse_lm.cli.output import AsJson
from collapse_lm.cli.show import followed, hear_the_library
from collapse_lm.cli.stopping import StopRequest, until_signal

_OPTIONS = {
    "source.corpus": "--corpus",
    "sampling.max_new_tokens": "--segment",
    "run.max_updates": "--tokens",
}


def dynamic_eval(
    model: ModelReference,
    corpus: Annotated[str, typer.Option(help="A name, or text:PATH.")],
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="About as many, in whole segments. Default: all of the corpus."),
    ] = None,
    segment: Annotated[int, typer.Option(min=1, help="Tokens of a step.")] = 200,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; the same call again goes on with it.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a text while the model learns it: each segment first, then a step on it.

    By default AdamW with a learning rate of 1e-5. Beside it stand the losses of the untrained
    model on the same tokens, and the paired difference.
    """

    def work(stop: StopRequest) -> None:
        def go(observers: list[Any]) -> Any:
            from collapse_lm.dynamic import dynamic_eval as evaluate

            with told_as_options(_OPTIONS):
                return evaluate(
                    model,
                    corpus,
                    tokens=tokens,
                    segment=segment,
                    out=out,
                    overrides=settings or [],
                    observers=observers,
                    should_stop=stop,
                )

        if as_json:
            print(json.dumps(go([]).summary, indent=2))
            return
        hear_the_library()
        print(_told(followed(lambda observer: go([observer]))))

    until_signal(work)


def _told(result: Any) -> str:
    found = result.summary
    if "dynamic_loss" not in found:
        again = f"the same call with --out {result.directory} goes on"
        return printable(f"{found['reason']}; {again}")
    number = {name: _number(value) for name, value in found.items() if _is_number(value)}
    low, high = number["difference_lower"], number["difference_upper"]
    lines = [
        "",
        f"{found['tokens']} tokens, {found['segments']} segments of {found['static_context']}",
        f"static loss  {number['static_loss']} nats/token, in segments",
        f"static loss  {number['static_loss_longest']} at context {found['longest_context']}",
        f"dynamic loss {number['dynamic_loss']}",
        f"difference   {number['difference']} in segments, 95 % interval {low} to {high}",
        printable(f"record {result.directory}"),
    ]
    return "\n".join(lines)


def _is_number(value: object) -> bool:
    """True for a number of a summary, and for null: one that is not finite."""
    return value is None or isinstance(value, (int, float))


def _number(value: float | None) -> str:
    return "nan" if value is None else format(value, ".4f")
