"""`collapse-lm ngram-eval`: a model approximated by n-grams of its samples."""

from pathlib import Path
from typing import Annotated, Any

import typer

from collapse_lm.cli.numbers import numbers_of, told_evaluation
from collapse_lm.cli.options import ModelReference, Settings
from collapse_lm.cli.output import AsJson
from collapse_lm.cli.show import hear_the_library
from collapse_lm.cli.stopping import StopRequest, until_signal
from collapse_lm.cli.tables import Listing


def ngram_eval(
    model: ModelReference,
    corpus: Annotated[str, typer.Option(help="The text that is scored: a name, or text:PATH.")],
    tokens: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of sampled tokens.")
    ] = "10000,100000",
    orders: Annotated[
        str, typer.Option(metavar="N,N,...", help="Orders of the n-grams.")
    ] = "2,3,4,5",
    real: Annotated[
        str | None, typer.Option(help="Text for n-grams of real text; never the one scored.")
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of a document. Default: the model's, at most 1024."),
    ] = None,
    scored: Annotated[
        int | None, typer.Option(min=1, help="Score as many, from the beginning. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the record; the same call again goes on with it.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw text from a model, train n-grams on it, and score a text with them.

    Interpolated modified Kneser-Ney over the model's tokens, on the first N of them; with --real
    beside n-grams of real text, and both interpolated.
    """
    counts = numbers_of("--tokens", tokens, int), numbers_of("--orders", orders, int)
    asked: dict[str, Any] = {"real": real, "length": length, "scored": scored, "out": out}

    def work(stop: StopRequest) -> None:
        if not as_json:
            hear_the_library()
        from collapse_lm.ngrams.ngram_eval import ngram_eval as evaluate

        more = {**asked, "overrides": settings or [], "should_stop": stop}
        result = evaluate(model, corpus, tokens=counts[0], orders=counts[1], **more)
        told_evaluation(result, as_json, _lines)

    until_signal(work)


def _lines(found: dict[str, Any]) -> list[str]:
    """The model's loss, and perplexities by order and number of tokens."""
    static = f"{found['static_loss']:.4f} nats/token, perplexity {found['static_perplexity']:.2f}"
    head = [
        f"{found['tokens']} tokens scored, {found['documents']} documents of up to "
        f"{found['length']} tokens drawn",
        f"the model: {static}, {found['static_bits_per_byte']:.4f} bits/byte "
        f"at context {found['static_context']}",
        "",
    ]
    columns = ["order", "tokens", "perplexity", "bits/byte"]
    if found["real_tokens"]:
        columns += ["real", "mixed", "weight", "mixed - real (nats, 95 %)"]
        head.insert(2, _of_real(found))
    rows = [
        [order, count, f"{told['perplexity']:.2f}", f"{told['bits_per_byte']:.4f}", *_mixed(told)]
        for order, by_count in found["ngrams"].items()
        for count, told in by_count.items()
    ]
    return [*head, *Listing(columns, rows).lines()]


def _of_real(found: dict[str, Any]) -> str:
    told = ", ".join(f"{o}: {value['perplexity']:.2f}" for o, value in found["real"].items())
    return f"real text, {found['real_tokens']} tokens; perplexity by order {told}"


def _mixed(told: dict[str, Any]) -> list[str]:
    if "mixed_loss" not in told:
        return []
    limits = [told["difference"], told["difference_lower"], told["difference_upper"]]
    mean, lower, upper = ("nan" if x is None else f"{x:.4f}" for x in limits)
    real = told.get("real_perplexity")
    return [
        "" if real is None else f"{real:.2f}",
        f"{told['mixed_perplexity']:.2f}",
        f"{told['weight']:.3f}",
        f"{mean} ({lower} to {upper})",
    ]
