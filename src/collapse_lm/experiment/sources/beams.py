"""The likeliest texts that a beam search finds, by transformers.

Beams are no samples: no random number is read, and each text is an argument of a maximum, not a
draw. So this is a source's own way to get texts, and neither a setting of sampling nor a probe.

Shapes: B texts, S tokens with the prompt, T tokens of a text, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import torch

from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.sources.own import Sampling
from collapse_lm.inference import Network
from collapse_lm.inference.as_configured import is_as_configured
from collapse_lm.sampling import entropy, log_probabilities


@dataclass(frozen=True)
class BeamSearch:
    """Finds texts with `generate` of transformers.

    Attributes:
        network: of transformers, whose weights are those that sample.
        width: beams.
        sampling: length, stop token, repetition penalty; temperature and filters are not read.
    """

    network: Any
    width: int
    sampling: Sampling

    def __post_init__(self) -> None:
        if not is_as_configured(self.network):
            got = f"{self.width}, for a {type(self.network).__name__}"
            raise UserError.single("source.beams", got, "1, or a plain model of transformers")
        if self.sampling.config.context == "sliding":
            got = f"{self.width} under sampling.context=sliding"
            raise UserError.single("source.beams", got, "1, or sampling.context=full")

    def draw(self, reads: Network, prompts: Sequence[tuple[int, ...]]) -> Batch:
        """The text behind each prompt, with what `reads` tells of its tokens.

        Args:
            reads: the weights that sample, as every other text is read.
            prompts: token ids; those of one length are searched together.
        """
        order = sorted(range(len(prompts)), key=lambda b: len(prompts[b]))
        found: dict[int, tuple[int, ...]] = {}
        for _, same in groupby(order, key=lambda b: len(prompts[b])):
            places = list(same)
            found |= zip(places, self._search([prompts[b] for b in places]), strict=True)
        texts = [_read(reads, prompt, found[b]) for b, prompt in enumerate(prompts)]
        entropies = [value for text, _ in texts for value in text.entropies]
        tops = [value for _, top in texts for value in top]
        told = {"draw.entropy": fmean(entropies), "draw.top1": fmean(tops)}
        return Batch(tuple(text for text, _ in texts), told)

    @torch.no_grad()
    def _search(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        from transformers import GenerationConfig

        config, stop = self.sampling.config, self.sampling.stop_token
        ids_BS = torch.tensor(list(prompts), device=self.network.device)
        settings = GenerationConfig(
            num_beams=self.width,
            do_sample=False,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens if stop is not None else None,
            repetition_penalty=config.repetition_penalty,
            suppress_tokens=list(self.sampling.excluded) or None,
            eos_token_id=stop,
            pad_token_id=stop if stop is not None else 0,
        )
        mask_BS = torch.ones_like(ids_BS)
        held, self.network.generation_config = self.network.generation_config, settings
        try:  # what a model's own configuration sets would else stand where this one is silent
            out_BS = self.network.generate(ids_BS, attention_mask=mask_BS)
        finally:
            self.network.generation_config = held
        return [_up_to(stop, ids) for ids in out_BS[:, ids_BS.shape[1] :].tolist()]


def _up_to(stop: int | None, ids: list[int]) -> tuple[int, ...]:
    """Token ids up to the stop token, which is the last."""
    return tuple(ids[: ids.index(stop) + 1] if stop in ids else ids)


def _read(
    reads: Network, prompt: tuple[int, ...], ids: tuple[int, ...]
) -> tuple[Text, list[float]]:
    """A text with log-probabilities and entropies, and the largest probability at each token."""
    ids_BS = torch.tensor([[*prompt, *ids[:-1]]], device=reads.device)
    log_p_TV = log_probabilities(reads.logits(reads.hidden(ids_BS)[0, len(prompt) - 1 :]))
    targets_T1 = torch.tensor(ids, device=reads.device)[:, None]
    log_probs = tuple(log_p_TV.gather(-1, targets_T1)[:, 0].tolist())
    entropies = tuple(entropy(log_p_TV).tolist())
    text = Text(prompt, ids, "own", log_probs=log_probs, entropies=entropies)
    return text, log_p_TV.amax(dim=-1).exp().tolist()
