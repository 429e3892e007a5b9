"""The paper's source: samples that the current model draws itself."""

from collections.abc import Sequence
from typing import Any

from collapse_lm import rng
from collapse_lm.config.schema import SamplingConfig
from collapse_lm.sampling import Draw, Filters, sample


class OwnSamples:
    """s_u ~ P(. | prompt, θ_{u-1}), uniforms from the stream `sample` of the update."""

    def __init__(
        self, config: SamplingConfig, prompt: Sequence[int], eos_token: int | None, seed: int
    ) -> None:
        self._config = config
        self._prompt = tuple(prompt)
        self._stop_token = eos_token if config.stop_at_eos else None
        self._seed = seed

    def draw(self, network: Any, update: int) -> Draw:
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
        )
