"""Models with known answers for the tests of the monitor: whatever stands before a token, its
probabilities are those given."""

import math
from collections import Counter

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from collapse_lm.monitor.held_out import corpus_of

from conftest import byte_tokenizer

EOS, TOKENS = 256, 257
SHORT = {"samples": 8, "max_new_tokens": 48, "held_out_tokens": 512, "keep_healthy": False}


def unigram(probabilities):
    """A GPT-2 whose hidden state is the same everywhere, so that its head alone decides."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=TOKENS,
        n_positions=128,
        n_embd=8,
        n_layer=1,
        n_head=1,
        bos_token_id=EOS,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )
    network = GPT2LMHeadModel(config)
    with torch.no_grad():
        network.transformer.ln_f.weight.zero_()
        network.transformer.ln_f.bias.zero_()
        network.transformer.ln_f.bias[0] = 1.0
        network.lm_head.weight.zero_()
    return becomes(network, probabilities)


def becomes(network, probabilities):
    """Let a model give other probabilities from now on, by id; the others get next to none."""
    logits = torch.full((TOKENS,), -30.0)
    for token, p in probabilities.items():
        logits[token] = math.log(p)
    with torch.no_grad():
        network.lm_head.weight[:, 0] = logits
    return network


def text_frequencies(eos):
    """Those of the bytes of the held-out text, all of them possible, and of EOS."""
    ids = byte_tokenizer()(corpus_of("auto").text)["input_ids"]
    counts = Counter(dict.fromkeys(range(EOS), 0.1)) + Counter(ids)
    total = sum(counts.values())
    return {token: (1 - eos) * count / total for token, count in counts.items()} | {EOS: eos}


def shifted(probabilities):
    """The same probabilities, of other bytes."""
    letters = sorted(token for token in probabilities if token != EOS)
    moved = letters[64:] + letters[:64]
    values = [probabilities[token] for token in letters]
    return dict(zip(moved, values, strict=True)) | {EOS: probabilities[EOS]}


def uniform(tokens, eos):
    """All of some tokens alike."""
    return dict.fromkeys(tokens, (1 - eos) / len(tokens)) | {EOS: eos}


BASE = text_frequencies(0.02)
STATES = {  # what becomes of the model, and the states that it is then in
    "loop": (uniform([65], 0.001), {"drift", "mode", "loop"}),
    "mode": (uniform([65, 66, 67, 68], 0.02), {"drift", "mode"}),
    "noise": (uniform(range(256), 0.02), {"drift", "noise"}),
    "shrink": (text_frequencies(0.9), {"drift", "mode", "shrink"}),
    "drift": (shifted(BASE), {"drift"}),
}
