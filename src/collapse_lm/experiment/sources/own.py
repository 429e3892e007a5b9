"""The paper's source: samples that the current model draws itself."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_lm import rng
from collapse_lm.config.sections import SamplingConfig
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.prompts import Prompts
from collapse_lm.inference import Network
from collapse_lm.sampling import Drafter, Draw, Filters, prices_of, sample

_LOG = logging.getLogger(__name__)
_FREE_ROWS = 16  # rows of one pass that cost less than three of one row (docs/performance.md)


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        config: temperature, filters, length, number of samples.
        prompts: what stands before each sample.
        stop_token: ends a sample; None where it runs to its length.
        seed: of the run.
        purpose: names the stream of random numbers.
        excluded: ids that are never drawn.
        more_stops: other tokens that end a sample, beside the stop token.
    """

    config: SamplingConfig
    prompts: Prompts
    stop_token: int | None
    seed: int
    purpose: rng.Purpose = "sample"
    excluded: tuple[int, ...] = ()
    more_stops: tuple[int, ...] = ()

    def draw(
        self,
        network: Network,
        prompts: Sequence[tuple[int, ...]],
        name: tuple[int, int],
        drafter: Drafter | None = None,
        *,
        learns: bool = True,
    ) -> Draw:
        """Draw a sample behind each prompt.

        Args:
            network: draws.
            prompts: token ids, at least one each.
            name: of the stream of random numbers: update and part; part 0 has no name.
            drafter: proposes tokens.
            learns: it learns what was drawn.
        """
        config, (update, part) = self.config, name
        numbers = rng.stream(self.seed, self.purpose, update, *([part] if part else []))
        return sample(
            network,
            prompts,
            rng.uniforms(numbers, len(prompts), config.max_new_tokens),
            self.filters,
            block_size=config.block_size if config.context == "sliding" else None,
            stop_token=self.stops,
            least_tokens=config.min_new_tokens,
            drafter=drafter,
            learns=learns,
        )

    @property
    def stops(self) -> tuple[int, ...]:
        """All tokens that end a sample."""
        one = () if self.stop_token is None else (self.stop_token,)
        return (*one, *self.more_stops)

    @property
    def filters(self) -> Filters:
        """What a token is drawn from."""
        config = self.config
        cut = (config.top_k, config.top_p, config.min_p)
        return Filters(config.temperature, *cut, self.excluded, config.repetition_penalty)


class OwnSamples:
    """s_u ~ P(. | prompt, θ_{u-1}), uniforms from the stream of the update.

    Args:
        sampling: how samples are drawn.
        learns: the look-up of speculation learns what was drawn; False within another source,
            which tells by `replay` what became of it.
    """

    def __init__(self, sampling: Sampling, *, learns: bool = True) -> None:
        self._sampling = sampling
        self._learns = learns
        longest = _longest_draft(sampling.config)
        self._drafter = Drafter(longest) if longest else None
        self._priced: Network | None = None  # whose prices the drafter knows

    def draw(self, at: Moment) -> Batch:
        """Sample from the current model."""
        return as_batch(self.sample(at.models.sampler, at.update, at.attempt), "own")

    def sample(self, network: Network, update: int, attempt: int = 0) -> Draw:
        """Sample from any model with the random numbers of an update (other ones per attempt)."""
        own = self._sampling
        if self._drafter is not None and self._priced is not network:
            self._drafter.prices, self._priced = prices_of(network), network
        drafter = self._drafter if self._pays_off(network) else None
        prompts = own.prompts.of(update, own.config.batch_size)
        return own.draw(network, prompts, (update, attempt), drafter, learns=self._learns)

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Let the look-up of speculation know earlier samples."""
        if self._drafter is not None:
            for text in texts:
                self._drafter.learn(text.ids)

    def _pays_off(self, network: Network) -> bool:
        """Under auto, samples of a batch are not drawn one by one for the sake of proposals."""
        config = self._sampling.config
        is_even = network.takes_ragged or config.batch_size == 1
        return network.can_rewind and (is_even or config.speculation != "auto")


def as_batch(draw: Draw, origin: str) -> Batch:
    """The samples of a draw as texts, with what drawing them told and cost."""
    texts = tuple(
        Text(prompt, ids, origin, log_probs=log_probs, entropies=entropies)
        for prompt, ids, log_probs, entropies in zip(
            draw.prompts, draw.samples, draw.log_probs, draw.entropies, strict=True
        )
    )
    values = {
        "draw.entropy": draw.entropy,
        "draw.sampling_entropy": draw.sampling_entropy,
        "draw.top1": draw.top1,
        "draw.forward_passes": draw.forward_passes,
        "seconds.log_probs": round(draw.log_prob_seconds, 6),
    }
    return Batch(texts, values)


def _longest_draft(config: SamplingConfig) -> int:
    """Tokens to propose at most; 0 where speculation is off or has nothing to gain."""
    if config.speculation == "off":
        return 0
    if config.context == "sliding":
        if config.speculation != "auto":
            _LOG.info("sampling.speculation is off: it needs sampling.context=full")
        return 0
    if config.speculation == "auto":
        return _FREE_ROWS // config.batch_size - 1 if config.batch_size <= _FREE_ROWS else 0
    return config.speculation
