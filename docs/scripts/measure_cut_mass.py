"""How much probability a model loses to top-k at temperature 1, on its own samples.

    python docs/scripts/measure_cut_mass.py --model ladder:128x4 --samples 20

Prints a line per k: the mean over positions of the mass outside of the k most probable tokens,
with the standard error over samples. Samples are drawn as a run draws them, nothing cut off.
"""

import argparse

import torch

from collapse_lm import load_model, sample

KS = (50, 100, 200, 500, 1000)


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--model", default="ladder:128x4")
    asked.add_argument("--samples", type=int, default=20)
    asked.add_argument("--tokens", type=int, default=200)
    options = asked.parse_args()
    masses_SK = measure(options.model, options.samples, options.tokens)
    error_K = (masses_SK.std(0) / options.samples**0.5).tolist()
    for k, mass, error in zip(KS, masses_SK.mean(0).tolist(), error_K, strict=True):
        print(f"k {k:5d}  mass cut off {mass:.4f} (standard error {error:.4f})")


@torch.no_grad()
def measure(name: str, samples: int, tokens: int) -> torch.Tensor:
    """The mean mass outside of the k most probable tokens, (samples, len(KS))."""
    model = load_model(name)
    open_end = {"temperature": 1.0, "top_k": None, "max_new_tokens": tokens}
    drawn = sample(model, samples=samples, precision="float32", **open_end)
    found = []
    for text in drawn.texts:
        ids_T = torch.tensor([model.start_token, *text.ids[:-1]])
        logits_TV = model.network(input_ids=ids_T[None]).logits[0]
        sorted_TV = logits_TV.double().softmax(-1).sort(-1, descending=True).values
        found.append([float(1 - sorted_TV[:, :k].sum(-1).mean()) for k in KS])
    return torch.tensor(found)


if __name__ == "__main__":
    main()
