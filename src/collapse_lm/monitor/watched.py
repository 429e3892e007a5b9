"""The model that a monitor watches: how it is sampled and scored.

Knows nothing of states, records and time budgets.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.measures.names import Number
from collapse_lm.measures.pool import Pool
from collapse_lm.models.load import LanguageModel
from collapse_lm.monitor.chance import Start, beyond_chance
from collapse_lm.monitor.describe import described
from collapse_lm.monitor.held_out import HeldOut, corpus_of
from collapse_lm.monitor.pooled import common_length, pooled
from collapse_lm.monitor.probe import Prober
from collapse_lm.monitor.reading import (
    language_model,
    require_finite,
    under_adapters,
    unwrapped,
)
from collapse_lm.monitor.settings import CONTEXT, MonitorSettings
from collapse_lm.own_loop import AnyPrecision, as_it_is

_MOST_SHOWN = 8  # samples of the baseline that the record keeps


class Watched:
    """A model with the samples and the text by which it is watched.

    Args:
        settings: of the monitor.
        model: of transformers or peft, wrapped or not.
        tokenizer: of the model.

    Attributes:
        model: as it is read now.
        config: of the record.

    Raises:
        UserError: for what does not fit.
    """

    def __init__(self, settings: MonitorSettings, model: Any, tokenizer: Any) -> None:
        self.model = language_model(model, tokenizer)
        require_finite(self.model)
        self._tokenizer = tokenizer
        corpus = corpus_of(settings.held_out)
        self._held_out: HeldOut | None = None
        if corpus is not None:
            self._held_out = HeldOut(corpus, self.model, settings.held_out_tokens)
        context = min(CONTEXT, self.model.max_positions or CONTEXT)
        name = self.model.provenance.reference
        self.config = settings.config(name, corpus.name if corpus else None, context)
        self._prober = Prober.of(self.config, self.model, settings.prompts)
        self._pool = Pool()
        self._length: int | None = None  # to which samples are cut where probes are pooled

    @property
    def plan(self) -> str:
        """What the baseline takes, in words."""
        sampling = self.config.sampling
        samples = self.config.collapse.base_samples
        told = f"{samples} samples of up to {sampling.max_new_tokens} tokens"
        return told if self._held_out is None else f"{told}, and held-out text"

    def baseline(self, model: Any) -> tuple[dict[str, Number], tuple[Text, ...], float]:
        """Measure the model as it is before any training.

        Returns:
            Numbers by name, some of the samples, and the seconds that a probe will take.
        """
        begin = time.perf_counter()
        texts, seconds = self._drawn_base(model)
        middle = time.perf_counter()
        values = self._prober.base_values(texts) | self._scored(model, is_base=True)
        self._take_levels(texts)
        end = time.perf_counter()
        values |= {"seconds.probe": round(middle - begin, 4)}
        values |= {"seconds.evaluate": round(end - middle, 4)}
        shown = texts[: min(_MOST_SHOWN, self.config.sampling.batch_size)]
        return values, shown, seconds + end - middle

    def _take_levels(self, texts: Sequence[Text]) -> None:
        """Put the thresholds that follow from the start into the record's configuration."""
        rule, sampling = self.config.collapse, self.config.sampling
        self._length = common_length([text.ids for text in texts])
        drawn = sampling.batch_size, sampling.max_new_tokens
        start = Start(texts, *drawn, self._length, self.config.seed)
        collapse = beyond_chance(rule, start)
        self.config = self.config.model_copy(update={"collapse": collapse})

    def probe(self, model: Any, step: int) -> tuple[dict[str, Number], Batch]:
        """Draw and score at a step; return the numbers by name, and the samples."""
        begin = time.perf_counter()
        with as_it_is(self._read(model), self._precision, "sampling") as ready:
            probe = self._prober.draw(ready.sampler, step)
        middle = time.perf_counter()
        values = self._prober.values(probe) | self._pooled(probe)
        values |= self._scored(model)
        end = time.perf_counter()
        values |= {"seconds.probe": round(middle - begin, 4)}
        return values | {"seconds.evaluate": round(end - middle, 4)}, probe

    def manifest(self, step: int) -> dict[str, Any]:
        """What the record says of all this, with the baseline at a step."""
        return described(self.model, self._prober, self._held_out, step)

    def _pooled(self, probe: Batch) -> dict[str, Number]:
        return pooled(self._pool, [text.ids for text in probe.texts], self._length)

    def _drawn_base(self, model: Any) -> tuple[tuple[Text, ...], float]:
        with as_it_is(self._read(model), self._precision, "sampling") as ready:
            return self._prober.base(ready.sampler)

    def _scored(self, model: Any, *, is_base: bool = False) -> dict[str, Number]:
        if self._held_out is None:
            return {}
        with as_it_is(self._read(model), self._precision, "evaluation") as ready:
            return self._held_out.measure(ready.evaluator, is_base=is_base)

    def _read(self, model: Any) -> LanguageModel:
        """The model as it is now; made anew where the trainer put another in its place.

        What reads it keeps caches with it, for which a GPU under training has no room.
        """
        network = under_adapters(unwrapped(model))
        if network is not self.model.network:
            self.model = language_model(model, self._tokenizer)
        return self.model if network.device.type == "cpu" else replace(self.model)

    @property
    def _precision(self) -> AnyPrecision:
        """On a CPU the fastest; elsewhere the weights themselves, without a copy."""
        weight = next(self.model.network.parameters())
        return (
            "auto" if weight.device.type == "cpu" and weight.dtype == torch.float32 else "float32"
        )
