"""A model interpolated with a cache of the newest tokens of the text that it scores.

Kuhn and De Mori 1990; Jelinek, Merialdo, Roukos and Strauss 1991. The weights are those that
make another text likeliest. Nothing is trained, so a segment is scored as it lies.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.config import Config, Overrides, resolve
from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.experiment.lengths import check_positions, default_context
from collapse_lm.experiment.ready import ReadyModel, ready_model
from collapse_lm.ngrams.cache import cache_log_probs
from collapse_lm.ngrams.mixture import Numbers, mixed, tuned
from collapse_lm.ngrams.record import EvaluationDirectory, EvaluationResult, require_only
from collapse_lm.ngrams.scored import Units, beginning, by_segment, log_probs, require_apart

_LOG = logging.getLogger(__name__)
CACHE, SEGMENT, TUNE, TUNE_TOKENS = 500, 200, "sotu-train", 10_000
_USED = ("seed", "device", "precision", "sampling.start_token")
_MODELS = ("model", "unigram", "bigram")


def cache_eval(
    model: str | Path,
    corpus: str,
    *,
    tokens: int | None = None,
    cache: int = CACHE,
    segment: int = SEGMENT,
    tune: str = TUNE,
    tune_tokens: int = TUNE_TOKENS,
    weights: Sequence[float] | None = None,
    out: Path | str | None = None,
    overrides: Overrides = (),
) -> EvaluationResult:
    """Score a text with a model, and with the model and a cache of the newest tokens.

    Args:
        model: smollm2-135m, a name on the hub, or a local folder.
        corpus: a name, or text:PATH.
        tokens: about as many from its beginning, in whole segments; None takes all.
        cache: tokens that the cache holds.
        segment: tokens of a segment, which is the short context, and the unit of the interval.
        tune: the text that the weights are tuned on; never the one that is scored.
        tune_tokens: as many from its beginning, at most.
        weights: of the cached unigrams and bigrams, instead of tuning; the rest is the model's.
        out: the folder of its record; by default a new one below runs/.
        overrides: of seed, device, precision and sampling.start_token.

    Returns:
        Its folder and its summary (summary.json), with these in it at the context of a segment,
        and with `_longest` behind their names at `longest_context`, the model's longest:
        `static_loss` and `cache_loss` without and with the cache, in nats per token, and likewise
        `_perplexity` and `_bits_per_byte`; `difference`, cache minus static, with
        `difference_lower` and `difference_upper`, its 95 % interval (see `block_bootstrap`);
        `difference_cached` and `difference_not_cached`, its means over the tokens that the cache
        held and over the others; `weights`. And `cached_share` of the tokens, `static_context`,
        `longest_context`, `tokens`, `segments`.

    Raises:
        UserError: for bad input, before anything was created.
        MachineError: when disk or memory fail.
    """
    _require_sizes(tokens, cache, segment, tune_tokens, weights)
    config = _config(str(model), corpus, overrides)
    scored = load_corpus(corpus)  # a missing file is told before a model is loaded
    tuning = _Tuning.of(scored, tune, tune_tokens, weights)
    task = _Task.of(config, scored, tokens, cache, segment, tuning)
    record = EvaluationDirectory.opened(out, "cache-eval", config.seed, task.settings())
    return record.result or record.finish(task.summary(), task.ready.phases.device)


def _config(model: str, corpus: str, overrides: Overrides) -> Config:
    base = {"model": model, "evaluation": {"corpora": [corpus]}}
    config = resolve(base, overrides)
    require_only(config, resolve(base), _USED)
    return config


def _require_sizes(
    tokens: int | None,
    cache: int,
    segment: int,
    tune_tokens: int,
    weights: Sequence[float] | None,
) -> None:
    for where, size in {
        "--tokens": 1 if tokens is None else tokens,
        "--cache": cache,
        "--segment": segment,
        "--tune-tokens": tune_tokens,
    }.items():
        if size < 1:
            raise UserError.single(where, size, "1 token or more")
    if weights is None:
        return
    if len(weights) != 2 or not min(weights) >= 0 or not sum(weights) < 1:
        got = ", ".join(map(str, weights))
        expected = "two numbers from 0, of a sum below 1: the model keeps the rest"
        raise UserError.single("--weights", got, expected, "e.g. --weights 0.05,0.1")


def _whole(data: EvaluationSet, tokens: int | None, segment: int) -> int:
    """How many tokens are scored: whole segments."""
    there = min(tokens or data.split_tokens, data.split_tokens)
    if there < segment:
        got = f"{there} tokens to score"
        raise UserError.single("cache-eval", got, f"{segment} at least", "--segment")
    return there // segment * segment


@dataclass(frozen=True)
class _Tuning:
    """What the weights are from: a text, or given."""

    corpus: Corpus | None
    most: int
    weights: tuple[float, float] | None

    @classmethod
    def of(cls, scored: Corpus, tune: str, most: int, weights: Sequence[float] | None) -> "_Tuning":
        if weights is not None:
            return cls(None, 0, (float(weights[0]), float(weights[1])))
        corpus = load_corpus(tune)
        require_apart(scored, corpus, "--tune")
        return cls(corpus, most, None)

    def settings(self) -> dict[str, Any]:
        """All of it that decides a number."""
        if self.corpus is None:
            return {"weights": list(self.weights or ())}
        told = {"name": self.corpus.name, "sha256": self.corpus.sha256, "tokens": self.most}
        return {"tune": told}


@dataclass(frozen=True)
class _Task:
    """What is scored, and by what."""

    config: Config
    ready: ReadyModel
    data: EvaluationSet
    tokens: int
    cache: int
    segment: int
    tuning: _Tuning

    @classmethod
    def of(
        cls,
        config: Config,
        scored: Corpus,
        tokens: int | None,
        cache: int,
        segment: int,
        tuning: _Tuning,
    ) -> "_Task":
        """Load the model, and see that it can do what is asked."""
        ready = ready_model(config, decodes=False)
        check_positions(ready.model, {"--segment": segment})
        data = beginning(scored, ready, tokens)
        task = cls(config, ready, data, _whole(data, tokens, segment), cache, segment, tuning)
        check_positions(ready.model, {"context": task.longest})
        return task

    @property
    def longest(self) -> int:
        """The longest context that there is, in tokens."""
        model = self.ready.model
        return min(model.max_positions or max(default_context(model), self.segment), self.tokens)

    def settings(self) -> dict[str, Any]:
        """All that decides a number."""
        return {
            "evaluation": "cache-eval",
            "model": asdict(self.ready.model.provenance),
            "start_token": self.ready.model.start_token,
            "precision": self.ready.phases.evaluation,
            "seed": self.config.seed,
            "corpus": {"name": self.data.corpus.name, "sha256": self.data.corpus.sha256},
            "tokens": self.tokens,
            "cache": self.cache,
            "segment": self.segment,
            **self.tuning.settings(),
        }

    def summary(self) -> dict[str, Any]:
        """What came out."""
        other, corpus = None, self.tuning.corpus
        if corpus is not None:
            other = beginning(corpus, self.ready, self.tuning.most)
        used = min(self.tuning.most, other.split_tokens) if other else 0
        _LOG.info("scoring %d tokens, and %d to tune on", self.tokens, used)
        found: dict[str, Any] = {}
        for suffix, context in {"": self.segment, "_longest": self.longest}.items():
            weights = np.array(self.tuning.weights or ())
            if other is not None:
                weights = tuned(self._models(other, used, context))[1:]
            told = self._compared(self._models(self.data, self.tokens, context), weights)
            found |= {f"{name}{suffix}": value for name, value in told.items()}
        return {
            "status": "finished",
            **found,
            "cached_share": self._cached_share(),
            "static_context": self.segment,
            "longest_context": self.longest,
            "cache": self.cache,
            "tuned_on": corpus.name if corpus else None,
            "tuned_tokens": used,
            "tokens": self.tokens,
            "segments": self.tokens // self.segment,
        }

    def _cached_share(self) -> float:
        return float(np.isfinite(_cached(self.data, self.tokens, self.cache)[0]).mean())

    def _models(self, data: EvaluationSet, tokens: int, context: int) -> Numbers:
        """Log p of each token under the model, the unigrams and the bigrams (3, N)."""
        static = log_probs(self.ready, data, tokens, context)
        cached = _cached(data, tokens, self.cache)
        return np.vstack([static, np.where(np.isnan(cached), static, cached)])

    def _compared(self, models: Numbers, weights: Numbers) -> dict[str, Any]:
        """Losses with and without the cache, and their difference."""
        shares = np.array([1 - weights.sum(), *weights])
        static, both = models[0], mixed(models, shares)
        apart = static - both
        held = np.isfinite(_cached(self.data, self.tokens, self.cache)[0])
        found = block_bootstrap(list(by_segment(apart, self.segment)), seed=self.config.seed)
        return {
            **{
                f"static_{name}": value
                for name, value in asdict(Units.of(static, self.data)).items()
            },
            **{f"cache_{name}": value for name, value in asdict(Units.of(both, self.data)).items()},
            "difference": found.value,
            "difference_lower": found.lower,
            "difference_upper": found.upper,
            "difference_cached": _mean(apart[held]),
            "difference_not_cached": _mean(apart[~held]),
            "weights": dict(zip(_MODELS, shares.tolist(), strict=True)),
        }


def _cached(data: EvaluationSet, tokens: int, size: int) -> Numbers:
    return cache_log_probs(data.ids[1 : tokens + 1].tolist(), size)


def _mean(values: Numbers) -> float:
    return float(values.mean()) if len(values) else float("nan")
