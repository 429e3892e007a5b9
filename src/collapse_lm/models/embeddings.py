"""Tokens and embeddings: which ids a model can read, and what is refused beyond them."""

from collections.abc import Sequence
from typing import Any

from collapse_lm.errors import UserError


def embedding_rows(network: Any) -> int:
    """Ids that a network has embeddings for."""
    return len(network.get_input_embeddings().weight)


def require_fit(reference: str, network: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer whose plain tokens have no embedding.

    Added tokens may lie beyond the embeddings (Gemma 3's stands for an image): no plain
    text yields them, and `check_ids` refuses one that does.

    Raises:
        UserError: for such a tokenizer, and for a slow one.
    """
    rows, added = embedding_rows(network), tokenizer.added_tokens_decoder
    beyond = [i for i in tokenizer.get_vocab().values() if i >= rows and i not in added]
    if beyond:
        raise UserError.single(
            f"model {reference}",
            f"a tokenizer of {len(tokenizer)} tokens and {rows} embeddings",
            "an embedding for every token, but for special ones",
            "network.resize_token_embeddings(len(tokenizer)), then save both again",
        )
    if not tokenizer.is_fast:
        raise UserError.single(
            f"model {reference}", "a slow tokenizer", "a fast one (tokenizer.json)"
        )


def check_ids(where: str, ids: Sequence[int], network: Any, tokenizer: Any) -> None:
    """Refuse ids that the network has no embedding for.

    Raises:
        UserError: naming the first such token.
    """
    rows = embedding_rows(network)
    if not ids or max(ids) < rows:
        return
    first = next(int(i) for i in ids if i >= rows)
    raise UserError.single(
        where,
        f"the token {tokenizer.convert_ids_to_tokens(first)!r}, id {first}",
        f"tokens that the model has embeddings for: ids below {rows}",
        "text without it, or a model whose embeddings were resized for it",
    )
