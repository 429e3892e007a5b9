"""The paper's source: samples that the current model draws itself."""

import logging
from collections.abc import Sequence

from collapse_lm import rng
from collapse_lm.config.schema import SamplingConfig
from collapse_lm.inference import Network
from collapse_lm.sampling import Drafter, Draw, Filters, sample

_LOG = logging.getLogger(__name__)
_FREE_ROWS = 16  # rows of one pass that cost less than three of one row (docs/performance.md)


class OwnSamples:
    """s_u ~ P(. | prompt, θ_{u-1}), uniforms from the stream `sample` of the update."""

    def __init__(
        self, config: SamplingConfig, prompt: Sequence[int], eos_token: int | None, seed: int
    ) -> None:
        self._config = config
        self._prompt = tuple(prompt)
        self._stop_token = eos_token if config.stop_at_eos else None
        self._seed = seed
        longest = _longest_draft(config)
        self._drafter = Drafter(longest) if longest else None

    def draw(self, network: Network, update: int) -> Draw:
        """Sample from the current model."""
        config = self._config
        numbers = rng.stream(self._seed, "sample", update)
        return sample(
            network,
            self._prompt,
            rng.uniforms(numbers, config.batch_size, config.max_new_tokens),
            Filters(config.temperature, config.top_k, config.top_p),
            block_size=config.block_size if config.context == "sliding" else None,
            stop_token=self._stop_token,
            drafter=self._drafter if self._pays_off(network) else None,
        )

    def replay(self, samples: Sequence[Sequence[int]]) -> None:
        """Let the look-up of speculation know earlier samples."""
        if self._drafter is not None:
            for ids in samples:
                self._drafter.learn(ids)

    def _pays_off(self, network: Network) -> bool:
        """Under auto, samples of a batch are not drawn one by one for the sake of proposals."""
        is_even = network.takes_ragged or self._config.batch_size == 1
        return network.can_rewind and (is_even or self._config.speculation != "auto")


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
