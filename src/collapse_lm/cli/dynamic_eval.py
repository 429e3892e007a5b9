"""`collapse-lm dynamic-eval`: how well a model predicts a text while it learns it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from collapse_lm._util.printable import printable
from collapse_lm.cli.numbers import told_evaluation
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
    rule: Annotated[
        str, typer.Option(help="adamw, sgd or krause; or several with commas, on the same tokens.")
    ] = "adamw",
    tune: Annotated[
        str | None,
        typer.Option(help="Text that rates, epsilon and decay are tuned on; never the one scored."),
    ] = None,
    tune_tokens: Annotated[
        int, typer.Option(min=1, help="As many from its beginning, at most.")
    ] = 5000,
    statistics: Annotated[
        str, typer.Option(help="Text of krause's gradient statistics; never the one scored.")
    ] = "sotu-train",
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory, or folder of several; the same call goes on with it."),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a text while the model learns it: each segment first, then a step on it.

    By default AdamW with a learning rate of 1e-5. Beside it stand the losses of the untrained
    model on the same tokens, and the paired difference.
    """
    asked = {
        **{"tokens": tokens, "segment": segment, "rule": rule, "tune": tune},
        **{"tune_tokens": tune_tokens, "statistics": statistics},
        **{"out": out, "overrides": settings or []},
    }
    until_signal(lambda stop: _show(model, corpus, asked, stop, as_json))


def _show(model: str, corpus: str, asked: dict[str, Any], stop: StopRequest, as_json: bool) -> None:
    def go(observers: list[Any]) -> Any:
        from collapse_lm.dynamic.evaluate import dynamic_eval as evaluate

        with told_as_options(_OPTIONS):
            return evaluate(model, corpus, **asked, observers=observers, should_stop=stop)

    if as_json:
        print(json.dumps(go([]).summary, indent=2))
        return
    hear_the_library()
    if asked["tune"] is not None or "," in asked["rule"]:
        told_evaluation(go([]), as_json, _compared)
    else:
        print(_told(followed(lambda observer: go([observer]))))


def _compared(found: dict[str, Any]) -> list[str]:
    """The table of several rules, and their paired differences."""
    lines = [
        "",
        f"{found['tokens']} tokens, {found['segments']} segments of {found['static_context']}",
        f"{'':<7} nats/token  perplexity  bits/byte  minus static, 95 % interval",
        f"static  {_units(found, 'static')}",
        f"static  {_units(found, 'static', '_longest')}  at context {found['longest_context']}",
    ]
    rules = found["rules"].items()
    lines += [f"{name:<7} {_units(told, 'dynamic')}  {_interval(told)}" for name, told in rules]
    lines += [f"{pair}: {_interval(told)}" for pair, told in found["between"].items()]
    tuned = f", tuned on {found['tuned_tokens']} tokens" if found["tuned_on"] else ""
    return lines + [f"{name}: {_values(told)}{tuned}" for name, told in rules]


def _values(told: dict[str, Any]) -> str:
    more = "".join(f", {name} {told[name]:g}" for name in ("decay", "epsilon") if name in told)
    return f"rate {told['learning_rate']:g}{more}"


def _units(told: dict[str, Any], name: str, suffix: str = "") -> str:
    """A loss in three units."""
    loss, perplexity, bits = (
        _number(told[f"{name}_{unit}{suffix}"]) for unit in ("loss", "perplexity", "bits_per_byte")
    )
    return f"{loss:<10}  {perplexity:<10}  {bits:<9}"


def _interval(told: dict[str, Any]) -> str:
    value, low, high = (
        _number(told[name]) for name in ("difference", "difference_lower", "difference_upper")
    )
    return f"{value} ({low} to {high})"


def _told(result: Any) -> str:
    found = result.summary
    if "dynamic_loss" not in found:
        again = f"the same call with --out {result.directory} goes on"
        return printable(f"{found['reason']}; {again}")
    longest = f"at context {found['longest_context']}"
    lines = [
        "",
        f"{found['tokens']} tokens, {found['segments']} segments of {found['static_context']}",
        f"{'':<12} nats/token  perplexity  bits/byte",
        f"static loss  {_units(found, 'static')}  in segments",
        f"static loss  {_units(found, 'static', '_longest')}  {longest}",
        f"dynamic loss {_units(found, 'dynamic')}",
        f"difference   {_number(found['difference'])} in segments, 95 % interval "
        f"{_number(found['difference_lower'])} to {_number(found['difference_upper'])}",
        printable(f"record {result.directory}"),
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "nan" if value is None else format(value, ".4f")
