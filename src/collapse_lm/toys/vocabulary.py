"""The tokenizer of a toy: a text is whole numbers with spaces between them.

A word that is none of the toy's has no embedding, so that whoever needs its id refuses it.
"""

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

START, UNKNOWN = "<s>", "<unk>"


def tokenizer_of(types: int) -> Any:
    """A fast tokenizer of the words 0 to `types` - 1, whose ids they are; then the start token.

    A token is a number with the space before it, so that the tokens of a text add up to it.
    """
    from transformers import PreTrainedTokenizerFast

    words = {f" {word}": word for word in range(types)} | {START: types, UNKNOWN: types + 1}
    core = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Prepend(" "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=START, unk_token=UNKNOWN)
