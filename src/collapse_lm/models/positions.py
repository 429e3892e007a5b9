"""How many positions a model has, by whatever name its configuration gives them."""

from typing import Any

_NAMES = (
    "max_position_embeddings",  # most families, some of them by another name for the same
    "max_target_positions",  # decoders of Whisper and its kin
    "max_seq_len",  # MPT
    "max_sequence_length",
    "n_positions",
    "n_ctx",
)


def max_positions(config: Any) -> int | None:
    """Longest sequence of tokens that a model reads; None where its configuration names none.

    Args:
        config: of transformers; of a model of several kinds of input the part for text counts.
    """
    for source in (config.get_text_config(decoder=True), config):
        for name in _NAMES:
            value = getattr(source, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None
