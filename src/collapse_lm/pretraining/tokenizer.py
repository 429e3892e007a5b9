"""A byte-level BPE (GPT-2's scheme) trained on a text, by the tokenizers library.

Every text has an encoding, and decodes to itself.
"""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from collapse_lm.errors import UserError

END = "<|endoftext|>"  # begins an empty prompt; GPT-2's only special token


def train_tokenizer(text: str, vocabulary: int, positions: int) -> Any:
    """Train a tokenizer of at most `vocabulary` tokens, `END` (BOS and EOS) being token 0.

    Returns:
        A fast tokenizer of transformers. It has fewer tokens where the text has too
        few pairs that occur twice.
    """
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=END, eos_token=END, model_max_length=positions
    )


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text; `END` inside of it is plain characters."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return list(encoded["input_ids"])


def encode_corpus(tokenizer: Any, name: str, text: str, context: int) -> Tensor:
    """Token ids (N,) of a text that holds at least one window and the token after it.

    Raises:
        UserError: for a shorter text.
    """
    ids = encode(tokenizer, text)
    if len(ids) <= context:
        raise UserError.single(
            f"corpus {name}",
            f"{len(ids)} tokens",
            f"more than the context ({context} tokens)",
            "a longer text, or a smaller context",
        )
    return torch.tensor(ids)
