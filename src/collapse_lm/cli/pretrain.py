"""`collapse-lm pretrain`: a ladder of small models, as subjects of experiments on size."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collapse_lm._util.printable import printable
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.pretraining.recipe import Recipe, Size
from collapse_lm.pretraining.texts import Texts, load_texts, prepare

if TYPE_CHECKING:
    from collapse_lm.pretraining.ladder import Built
    from collapse_lm.pretraining.train import Learned

_LINES = 10  # lines of progress per model
_DEFAULTS = Recipe()


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder of the models, each in WIDTHxDEPTH.")] = Path(
        "ladder"
    ),
    corpus: Annotated[str, typer.Option(help="A name, or text:PATH.")] = _DEFAULTS.corpus,
    sizes: Annotated[
        str, typer.Option(metavar="WxD,...", help="Widths (multiples of 32) and depths.")
    ] = ",".join(_DEFAULTS.sizes),
    tokens: Annotated[str, typer.Option(help="Tokens that each model learns.")] = str(
        _DEFAULTS.tokens
    ),
    seed: Annotated[str, typer.Option(help="Of the initial weights and the order.")] = str(
        _DEFAULTS.seed
    ),
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"Change a key of the recipe: {', '.join(Recipe.model_fields)}.",
        ),
    ] = None,
) -> None:
    """Train GPT-2 models of several sizes from scratch on one text, for `run --set model=DIR`.

    All sizes learn the same tokens in the same order, with one tokenizer. A model that an
    earlier call finished is kept.
    """
    values = {"corpus": corpus, "sizes": sizes, "tokens": tokens, "seed": seed}
    recipe, texts = prepare(values, settings or [])
    train_and_show(recipe, out, texts)


def train_and_show(recipe: Recipe, out: Path, texts: Texts | None = None) -> None:
    """Train a ladder and print its progress; a signal ends the process at once."""
    texts = texts or load_texts(recipe)
    stop = StopRequest()
    try:
        with stop:  # never asked, so the first signal ends the work at once
            _train(recipe, out, texts)
    except KeyboardInterrupt:
        print(f"\nstopped; finished models stay in {printable(str(out))}", file=sys.stderr)
        sys.exit(128 + (stop.signal_number or signal.SIGINT))


def _train(recipe: Recipe, out: Path, texts: Texts) -> None:
    from collapse_lm.pretraining.ladder import pretrain_ladder

    plan = f"{recipe.trained_tokens:,} tokens each, {recipe.steps:,} steps"
    print(f"{len(recipe.sizes)} models on {printable(texts.learned.name)}, {plan}", flush=True)
    progress = _Progress(recipe)
    pretrain_ladder(recipe, out, texts, progress.on_step, progress.on_model)


class _Progress:
    """Prints a line now and then: loss, learning rate, tokens per second."""

    def __init__(self, recipe: Recipe) -> None:
        self._every = max(1, recipe.steps // _LINES)
        self._steps = recipe.steps
        self._last: tuple[float, int] = (0.0, 0)

    def on_step(self, size: Size, learned: "Learned") -> None:
        """See a step; the first one is no measure of the pace."""
        now = time.perf_counter()
        if learned.step == 1:
            self._last = (now, learned.tokens)
        if learned.step % self._every and learned.step not in {1, self._steps}:
            return
        seconds, tokens = now - self._last[0], learned.tokens - self._last[1]
        pace = f"{tokens / seconds:8,.0f} tok/s" if tokens else ""
        print(
            f"{size!s:>8}  step {learned.step:6,}  tokens {learned.tokens:11,}  "
            f"loss {learned.loss:.3f}  lr {learned.lr:.1e}  {pace}".rstrip(),
            flush=True,
        )
        self._last = (now, learned.tokens)

    def on_model(self, built: "Built") -> None:
        """See a finished or kept model."""
        print(printable(_summary(built.size, built.folder, built.is_new, built.provenance)))


def _summary(size: Size, folder: Path, is_new: bool, provenance: dict[str, Any]) -> str:
    loss, parameters = provenance["held_out_loss"], provenance["parameters"]
    how = f"{provenance['seconds']:.0f} s" if is_new else "kept, finished before by this recipe"
    return (
        f"{size!s:>8}  {parameters['without_embeddings']:,} parameters without embeddings, "
        f"held-out {loss['loss']:.3f} nats/token, {loss['bits_per_byte']:.3f} bits/byte, "
        f"{folder} ({how})"
    )
