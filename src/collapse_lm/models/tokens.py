"""Which token begins a text: for an empty prompt, and before the first window of a corpus."""

from typing import Any

from collapse_lm.errors import UserError
from collapse_lm.models.packaged import NAME as PACKAGED

END_OF_TEXT = "<|endoftext|>"
# Families whose training texts were joined by the end-of-text token, so that a text began after it.
_AFTER_THE_END = {"gpt2", "gpt_neo", "gpt_neox", "gptj"}
_AFTER_END_OF_TEXT = (PACKAGED, "HuggingFaceTB/SmolLM2-", "HuggingFaceTB/SmolLM-")


def auto_start(tokenizer: Any) -> int | None:
    """BOS, or EOS where there is no BOS, or None."""
    bos: int | None = tokenizer.bos_token_id
    eos: int | None = tokenizer.eos_token_id
    return eos if bos is None else bos


def start_token(choice: str, reference: str, network: Any, tokenizer: Any, auto: int) -> int:
    """The token id that a `sampling.start_token` means.

    Args:
        choice: auto, document, or the token itself as text.
        reference: the model's name.
        network: for its family.
        tokenizer: of the model.
        auto: what `auto` means.

    Raises:
        UserError: for a text that is no single token, and for `document` where it is not
            known what began the documents of a model.
    """
    if choice == "auto":
        return auto
    if choice == "document":
        return _document_start(reference, network, tokenizer)
    ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise UserError.single(
            "sampling.start_token",
            f"{choice!r}, which is {len(ids)} tokens",
            "auto, document, or the text of one token",
            "put a longer beginning into sampling.prompt",
        )
    return int(ids[0])


def own_start(tokenizer: Any, text: str) -> tuple[int, ...]:
    """The ids that a tokenizer itself puts before a text; none where the text begins with them."""
    bare: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer(text)["input_ids"]
    for count in range(len(whole) - len(bare) + 1):
        if whole[count : count + len(bare)] == bare:
            return tuple(whole[:count]) if bare[:count] != whole[:count] else ()
    return ()


def unknown_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids of a model's head that are no token of its tokenizer: rows of a padded vocabulary."""
    head = network.get_output_embeddings()
    rows = network.config.vocab_size if head is None else len(head.weight)
    known = set(tokenizer.get_vocab().values())
    return tuple(token for token in range(rows) if token not in known)


def _document_start(reference: str, network: Any, tokenizer: Any) -> int:
    if reference.startswith(_AFTER_END_OF_TEXT):
        return int(tokenizer.convert_tokens_to_ids(END_OF_TEXT))
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer("a")["input_ids"][:1] == [bos]:
        return int(bos)  # the tokenizer begins each text with it by itself
    if network.config.model_type in _AFTER_THE_END and tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    raise UserError.single(
        "sampling.start_token",
        f"document, and it is not known what began the documents of {reference}",
        "auto, or the text of the token",
        "e.g. --set 'sampling.start_token=<s>'",
    )
