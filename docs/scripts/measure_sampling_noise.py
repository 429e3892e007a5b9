"""How often the rounding of a pass changes a sampled token: speculation, batch shape, logits.

    python docs/scripts/measure_sampling_noise.py          # SmolLM2-135M, some ten minutes

1. float32: samples of 200 tokens with and without speculation; at the first difference,
   how far the uniform number was from the edge of the plain token's interval.
2. bfloat16, on fixed prefixes (samples drawn once): the same positions read one at a
   time and 8 at a time, by our passes and by transformers'. A token disagrees when the
   same uniform picks another one; total variation compares the two distributions.
3. bfloat16, ours: logits as they are, in float32, against the same rounded to bfloat16;
   and transformers' passes with the output head in bfloat16 and in float32.
"""

import argparse
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from collapse_lm import rng
from collapse_lm.inference import Network, inference_network
from collapse_lm.models.load import load_model
from collapse_lm.sampling import Drafter, Filters, pick, probabilities, sample

FILTERS = Filters(temperature=0.8, top_k=500)
TOKENS = 200


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--prefixes", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model)
    prompt = [model.start_token]
    in_float32(inference_network(model.network, "float32", decodes=True), prompt, options.samples)

    network = inference_network(model.network, "bfloat16")
    drawn = [
        sample(network, prompt, uniforms(s), FILTERS).samples[0] for s in range(options.prefixes)
    ]
    prefixes = [torch.tensor([[*prompt, *ids]]) for ids in drawn]
    theirs = AutoModelForCausalLM.from_config(model.network.config, dtype=torch.bfloat16).eval()
    theirs.load_state_dict(model.network.state_dict())
    compare("ours, 8 rows a pass against 1", ours(network, 1), ours(network, 8), prefixes)
    compare(
        "transformers, 8 rows a pass against 1",
        transformers(theirs, 1, wide_head=False),
        transformers(theirs, 8, wide_head=False),
        prefixes,
    )
    compare(
        "transformers with a float32 head, 8 rows a pass against 1",
        transformers(theirs, 1, wide_head=True),
        transformers(theirs, 8, wide_head=True),
        prefixes,
    )
    compare(
        "ours, logits rounded to bfloat16 against not",
        ours(network, 1),
        lambda ids: ours(network, 1)(ids).bfloat16().float(),
        prefixes,
    )


def uniforms(seed: int) -> torch.Tensor:
    """The numbers of one sample."""
    return rng.uniforms(rng.stream(seed, "sample"), 1, TOKENS)


def in_float32(network: Network, prompt: list[int], samples: int) -> None:
    """Draw samples with and without speculation and compare their tokens."""
    different = 0
    drafter = Drafter()
    for seed in range(samples):
        plain = sample(network, prompt, uniforms(seed), FILTERS).samples[0]
        fast = sample(network, prompt, uniforms(seed), FILTERS, drafter=drafter).samples[0]
        if plain != fast:
            different += 1
            at = next(i for i, (a, b) in enumerate(zip(plain, fast, strict=True)) if a != b)
            edge = margin(network, prompt, plain, at, seed)
            print(f"  sample {seed} differs from token {at}: margin {edge:.1e}")
    print(f"float32: {different} of {samples} samples of {TOKENS} tokens differ with speculation")


def margin(network: Network, prompt: list[int], ids: tuple[int, ...], at: int, seed: int) -> float:
    """Distance of the uniform number from the nearer edge of the picked token's interval."""
    cache = network.new_cache(1, len(prompt) + at)
    logits = network.logits(network.hidden(torch.tensor([[*prompt, *ids[:at]]]), cache)[0, -1:])
    cdf = probabilities(logits, FILTERS)[0].double().cumsum(0)
    number = float(uniforms(seed)[0, at])
    below = float(cdf[ids[at] - 1]) if ids[at] else 0.0
    return min(abs(number - below), abs(float(cdf[ids[at]]) - number))


Logits = Callable[[torch.Tensor], torch.Tensor]


def ours(network: Network, rows: int) -> Logits:
    """Logits after every token but the last of a prefix, `rows` positions a pass."""

    def logits(ids: torch.Tensor) -> torch.Tensor:
        cache = network.new_cache(1, ids.shape[1])
        parts = torch.split(ids[:, :-1], rows, dim=1)
        return torch.cat([network.logits(network.hidden(part, cache)[0]) for part in parts])

    return logits


def transformers(network: torch.nn.Module, rows: int, *, wide_head: bool) -> Logits:
    """The same by transformers' passes, the output head in bfloat16 or in float32."""

    @torch.inference_mode()
    def logits(ids: torch.Tensor) -> torch.Tensor:
        cache = DynamicCache(config=network.config)
        result = []
        for part in torch.split(ids[:, :-1], rows, dim=1):
            if wide_head:
                hidden = network.base_model(input_ids=part, past_key_values=cache).last_hidden_state
                weight = network.get_output_embeddings().weight.float()
                result.append(torch.nn.functional.linear(hidden[0].float(), weight))
            else:
                result.append(network(input_ids=part, past_key_values=cache).logits[0].float())
        return torch.cat(result)

    return logits


def compare(name: str, one: Logits, other: Logits, prefixes: list[torch.Tensor]) -> None:
    """Print the share of tokens that differ, and the mean total variation."""
    different = tokens = 0
    variation = 0.0
    for seed, ids in enumerate(prefixes):
        first, second = one(ids), other(ids)
        numbers = uniforms(seed)[0, : len(first)]
        different += int((pick(first, numbers, FILTERS) != pick(second, numbers, FILTERS)).sum())
        distance = probabilities(first, FILTERS) - probabilities(second, FILTERS)
        variation += float(distance.abs().sum(dim=-1).sum()) / 2
        tokens += len(first)
    share, mean = different / tokens, variation / tokens
    print(f"{name}: {share:.1%} of {tokens} tokens differ, total variation {mean:.2%}")


if __name__ == "__main__":
    main()
