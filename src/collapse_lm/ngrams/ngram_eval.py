"""A model approximated by n-grams of its samples.

Deoras, Mikolov, Kombrink, Karafiat and Khudanpur 2011. Documents are drawn from the model, n-grams
are trained on the first N tokens of them, and score a real text; so does their interpolation
with n-grams of real text, whose weight is tuned on real text that neither was trained on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from collapse_lm.config import Config, Overrides, resolve
from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import own_samples
from collapse_lm.experiment.lengths import check_positions, default_context
from collapse_lm.experiment.ready import ReadyModel, ready_model
from collapse_lm.models.embeddings import embedding_rows
from collapse_lm.ngrams.approximation import Approximation
from collapse_lm.ngrams.real import RealText, real_text
from collapse_lm.ngrams.record import EvaluationDirectory, EvaluationResult, require_only
from collapse_lm.ngrams.samples import FOLDER, Ids, documents
from collapse_lm.ngrams.scored import Units, beginning, log_probs, require_apart

_LOG = logging.getLogger(__name__)
TOKENS, ORDERS = (10_000, 100_000), (2, 3, 4, 5)
_LONGEST_ORDER = 9
_USED = ("seed", "device", "precision", "sampling.")
_SETTLED = {
    "sampling.max_new_tokens": "--length N",
    "sampling.context": "--length N: a token sees all of its document",
    "sampling.block_size": "--length N: a token sees all of its document",
}
_SAMPLING = {"temperature": 1.0, "top_k": None, "batch_size": 64, "speculation": "off"}


def ngram_eval(
    model: str | Path,
    corpus: str,
    *,
    tokens: Sequence[int] = TOKENS,
    orders: Sequence[int] = ORDERS,
    real: str | None = None,
    length: int | None = None,
    scored: int | None = None,
    out: Path | str | None = None,
    overrides: Overrides = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> EvaluationResult:
    """Approximate a model by n-grams of its samples, and score a text with them.

    Args:
        model: smollm2-135m, a name on the hub, or a local folder.
        corpus: the text that is scored: a name, or text:PATH.
        tokens: numbers of sampled tokens, each trained on by itself.
        orders: of the n-grams.
        real: a text for n-grams of real text; None leaves them out.
        length: tokens of a document; by default the model's positions, at most 1,024.
        scored: tokens that are scored, from the beginning of the text; None takes all.
        out: the folder of its record; by default a new one below runs/. The same call goes on
            with the samples that it holds, and one with more tokens or other orders uses them.
        overrides: of seed, device, precision and sampling; samples are drawn at temperature 1
            from all tokens, unless these say otherwise.
        should_stop: asked after each batch of samples.

    Returns:
        Its folder and its summary (docs/ancestors.md), with losses in nats per token, perplexity
        and bits per byte: the model's own (`static_loss`), and by order and number of tokens
        (`ngrams`) those of its samples' n-grams, of real text's and of both interpolated.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail.
    """
    _require_numbers(tokens, orders, length, scored)
    config = _config(str(model), corpus, length, overrides)
    task = _Task.of(config, length, scored, tokens, orders, real)
    source, text = own_samples(task.config, task.ready), task.real_text()
    record = EvaluationDirectory.opened(out, "ngram-eval", config.seed, task.settings())
    samples, most = record.path / FOLDER, max(tokens)
    drawn = documents(source, task.ready.sampler, most, samples, should_stop)
    if drawn is None:
        return EvaluationResult(record.path, {"status": "interrupted"})
    return record.finish(task.summary(drawn, text), task.ready.phases.device)


def _config(model: str, corpus: str, length: int | None, overrides: Overrides) -> Config:
    """The configuration that samples are drawn by, as far as it is known without the model."""
    base = {"model": model, "evaluation": {"corpora": [corpus]}, "sampling": _SAMPLING}
    config = resolve(base, overrides)
    require_only(config, resolve(base), _USED, _SETTLED)
    return _of_length(config, length or config.sampling.max_new_tokens)


def _of_length(config: Config, tokens: int) -> Config:
    sampling = config.sampling.model_copy(update={"max_new_tokens": tokens})
    return config.model_copy(update={"sampling": sampling})


def _require_numbers(
    tokens: Sequence[int], orders: Sequence[int], length: int | None, scored: int | None
) -> None:
    """Refuse what is no number of tokens or no order."""
    sizes = {"--tokens": min(tokens, default=0), "--orders": min(orders, default=0)}
    given = {**sizes, "--length": length, "--scored": scored}
    for where, size in given.items():
        if size is not None and size < 1:
            raise UserError.single(where, size, "whole numbers from 1 on")
    if max(orders) > _LONGEST_ORDER:
        raise UserError.single("--orders", max(orders), f"orders of 1 to {_LONGEST_ORDER}")


@dataclass(frozen=True)
class _Task:
    """What is asked, and of what model."""

    config: Config
    ready: ReadyModel
    data: EvaluationSet
    wanted: int | None
    tokens: Sequence[int]
    orders: Sequence[int]
    real: Corpus | None

    @classmethod
    def of(
        cls,
        config: Config,
        length: int | None,
        scored: int | None,
        tokens: Sequence[int],
        orders: Sequence[int],
        real: str | None,
    ) -> "_Task":
        """Read the texts, load the model, and see that it can do what is asked."""
        text = load_corpus(config.evaluation.corpora[0])  # told before a model is loaded
        other = None if real is None else load_corpus(real)
        if other is not None:
            require_apart(text, other, "--real")
        ready = ready_model(config)
        longest = default_context(ready.model) if length is None else length
        check_positions(ready.model, {"--length": longest})
        data = beginning(text, ready, scored)
        return cls(_of_length(config, longest), ready, data, scored, tokens, orders, other)

    @property
    def scored(self) -> int:
        """Tokens that are scored."""
        return min(self.wanted or self.data.split_tokens, self.data.split_tokens)

    def settings(self) -> dict[str, Any]:
        """All that decides a number."""
        real = self.real and {"name": self.real.name, "sha256": self.real.sha256}
        return {
            "evaluation": "ngram-eval",
            "model": asdict(self.ready.model.provenance),
            "precision": {n: getattr(self.ready.phases, n) for n in ("sampling", "evaluation")},
            "seed": self.config.seed,
            "sampling": self.config.sampling.model_dump(mode="json"),
            "corpus": {"name": self.data.corpus.name, "sha256": self.data.corpus.sha256},
            "scored": self.scored,
            "real": real,
        }

    def summary(self, drawn: Sequence[Ids], real: RealText | None) -> dict[str, Any]:
        """What came out.

        Args:
            drawn: the samples.
            real: what `real_text` gave.
        """
        context = default_context(self.ready.model)
        _LOG.info("scoring %d tokens with the model and with n-grams", self.scored)
        static = Units.of(log_probs(self.ready, self.data, self.scored, context), self.data)
        told = Approximation(
            scored=self.data.ids[1 : self.scored + 1].numpy(),
            units=partial(Units.of, data=self.data),
            vocabulary=embedding_rows(self.ready.model.network),
            orders=self.orders,
            real=real,
            seed=self.config.seed,
        ).table(drawn, self.tokens)
        return {
            "status": "finished",
            **{f"static_{name}": value for name, value in asdict(static).items()},
            "static_context": context,
            **told,
            "real_tokens": real.tokens if real else 0,
            "tuned_tokens": sum(map(len, real.held_out)) if real else 0,
            "documents": len(drawn),
            "length": self.config.sampling.max_new_tokens,
            "tokens": self.scored,
        }

    def real_text(self) -> RealText | None:
        """Documents of the real text; None where there is none."""
        if self.real is None:
            return None
        length, seed = self.config.sampling.max_new_tokens, self.config.seed
        return real_text(self.real, self.ready, max(self.tokens), length, seed)
