"""Samples that the monitor draws from the model under training, and what their texts tell.

The prompts are the same at each probe and the random numbers are fresh ones: with the same
ones a model that does not learn would say the same each time, as one that is stuck does.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from collapse_lm.config import Config
from collapse_lm.errors import UserError
from collapse_lm.experiment.base_samples import base_values, pool_levels
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.build import decode
from collapse_lm.experiment.facts import mean_loss, spelled, text_metrics
from collapse_lm.experiment.prompts import Ids, Prompts
from collapse_lm.experiment.sources.own import OwnSamples, Sampling, as_batch
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number
from collapse_lm.measures.seen import probe_values
from collapse_lm.models.embeddings import check_ids, embedding_rows
from collapse_lm.models.load import LanguageModel
from collapse_lm.models.tokens import own_start, unknown_ids
from collapse_lm.monitor.pooled import common_length
from collapse_lm.monitor.settings import BASE_PROBES, Prompt

_PART = 16  # samples of the baseline that are drawn together, or a probe where it has more
_TOLD = ("entropy", "sampling_entropy", "top1", "forward_passes")


@dataclass(frozen=True)
class Prober:
    """How samples of a model are drawn.

    Attributes:
        config: of the record.
        model: whose tokenizer spells them.
        sampling: prompts, filters, length, random numbers.
    """

    config: Config
    model: LanguageModel
    sampling: Sampling

    @classmethod
    def of(cls, config: Config, model: LanguageModel, prompts: Sequence[Prompt]) -> "Prober":
        """Encode the prompts.

        Raises:
            UserError: for a prompt that cannot be encoded, and for samples that the model has
                no positions for.
        """
        given = [_encoded(model, prompt) for prompt in prompts] or [(model.start_token,)]
        count = config.sampling.batch_size
        ids = tuple(given[place % len(given)] for place in range(count))
        _check_positions(model, config.sampling.max_new_tokens, max(map(len, ids)))
        stop = model.eos_token if config.sampling.stop_at_eos else None
        excluded = unknown_ids(model.network, model.tokenizer)
        drawn = Prompts(ids, config.seed)
        more = ends_of(model) if config.sampling.stop_at_eos else ()
        others = tuple(one for one in more if one != stop)
        sampling = Sampling(config.sampling, drawn, stop, config.seed, "probe", excluded, others)
        return cls(config, model, sampling)

    def draw(
        self, network: Network, step: int, samples: int | None = None, origin: str = "probe"
    ) -> Batch:
        """Draw samples with the random numbers of a step, decoded."""
        settings = self.sampling.config
        if samples is not None:
            settings = settings.model_copy(update={"batch_size": samples})
        drawn = OwnSamples(replace(self.sampling, config=settings)).sample(network, step)
        return spelled(as_batch(drawn, origin), self.decoded)

    def decoded(self, texts: Sequence[Sequence[int]]) -> list[str]:
        """Strings of token ids."""
        return [decode(self.model, ids) for ids in texts]

    def base(self, network: Network) -> tuple[tuple[Text, ...], float]:
        """The samples of the baseline, and the seconds that a probe will take to draw.

        The first part may take longer, for what is made once.
        """
        probe = self.config.sampling.batch_size
        part, wanted = probe * max(1, _PART // probe), BASE_PROBES * probe
        texts, seconds = list[Text](), list[float]()
        while len(texts) < wanted:  # steps before the first have random numbers too
            begin = time.perf_counter()
            texts += self.draw(network, -len(seconds), part, "base").texts
            seconds.append(time.perf_counter() - begin)
        return tuple(texts[:wanted]), min(seconds)

    def base_values(self, texts: Sequence[Text]) -> dict[str, Number]:
        """The levels of the baseline, by name."""
        probe = self.config.sampling.batch_size
        told = base_values(texts, self.config.collapse, probe)
        ids = [text.ids for text in texts]
        length = common_length(ids)
        told |= pool_levels([one[:length] for one in ids], probe)
        told |= self._clipped(texts, "base_samples.clipped") | self._of(Batch(tuple(texts)))
        return told | {"probe.entropy": told["base_samples.entropy"]}

    def values(self, probe: Batch) -> dict[str, Number]:
        """What a probe tells by itself, by name."""
        told: dict[str, Number] = {f"probe.{n}": probe.values[f"draw.{n}"] for n in _TOLD}
        return told | self._of(probe)

    def _of(self, samples: Batch) -> dict[str, Number]:
        told: dict[str, Number] = {"probe.loss": mean_loss(samples), **text_metrics(samples)}
        told |= probe_values(samples.texts, self.config.collapse)
        return told | self._clipped(samples.texts, "probe.clipped")

    def _clipped(self, texts: Sequence[Text], name: str) -> dict[str, Number]:
        stops = self.sampling.stops
        return {name: fmean(text.ids[-1] not in stops for text in texts)} if stops else {}


def ends_of(model: LanguageModel) -> tuple[int, ...]:
    """The tokens at which the model's own generation ends: of a chat model there are several."""
    told = getattr(getattr(model.network, "generation_config", None), "eos_token_id", None)
    rows = embedding_rows(model.network)
    several = told if isinstance(told, (list, tuple)) else [told]
    return tuple(one for one in several if isinstance(one, int) and 0 <= one < rows)


def _encoded(model: LanguageModel, prompt: Any) -> Ids:
    tokenizer = model.tokenizer
    if isinstance(prompt, str):
        ids = (*own_start(tokenizer, prompt), *_plain(tokenizer, prompt))
    else:
        ids = _conversation(tokenizer, prompt)
    check_ids("prompts", ids, model.network, tokenizer)
    return ids or (model.start_token,)


def _plain(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _conversation(tokenizer: Any, messages: Any) -> Ids:
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a template raises
        told = str(error).strip().partition("\n")[0]
        expected = "a text, or messages that the tokenizer's chat template takes"
        raise UserError.single("prompts", f"{messages!r}: {told}"[:200], expected) from error
    return tuple(_plain(tokenizer, text))


def _check_positions(model: LanguageModel, new: int, prompt: int) -> None:
    limit, asked = model.max_positions, prompt + new - 1
    if limit is not None and asked > limit:
        raise UserError.single(
            "max_new_tokens",
            f"{new}, behind a prompt of {prompt} tokens",
            f"at most {limit} positions together, those of {model.provenance.reference}",
            f"max_new_tokens={max(1, limit - prompt + 1)}, or shorter prompts",
        )
