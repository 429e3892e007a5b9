"""What stands before each sample: the start token, one prompt, or prompts from a file."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from collapse_lm import rng
from collapse_lm._util.files import READ_FIX, read_regular
from collapse_lm._util.paths import located, looked_for
from collapse_lm.config.sections import SamplingConfig
from collapse_lm.errors import UserError

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompts:
    """Prompts as token ids, each at least one token.

    Attributes:
        ids: all of them; one that stands before every sample is a list of one.
        seed: of the run.
        is_random: drawn with replacement from the stream `prompt` of the update; else in
            the order of the file, which begins again when it ends.
        sha256: of the file; None where there is none.
    """

    ids: tuple[Ids, ...]
    seed: int
    is_random: bool = False
    sha256: str | None = None

    def of(self, update: int, count: int) -> list[Ids]:
        """The prompts of an update's samples, which depend on the update alone."""
        if self.is_random:
            numbers = rng.stream(self.seed, "prompt", update)
            chosen = torch.randint(len(self.ids), (count,), generator=numbers).tolist()
            return [self.ids[index] for index in chosen]
        first = (update - 1) * count
        return [self.ids[(first + place) % len(self.ids)] for place in range(count)]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.ids))


def make_prompts(
    config: SamplingConfig,
    seed: int,
    encode: Callable[[str], Sequence[int]],
    start_token: int,
    start_of: Callable[[str], Ids] = lambda text: (),
) -> Prompts:
    """Tokenize the prompts of a configuration; an empty one is the start token.

    Args:
        config: names the prompts.
        seed: of the run.
        encode: token ids of a text.
        start_token: an empty prompt.
        start_of: token ids that come before those of a text.

    Raises:
        UserError: for a file that cannot be read, and for text without a token.
    """

    def tokens(where: str, text: str) -> Ids:
        if not text:
            return (start_token,)
        ids = tuple(encode(text))
        if not ids:
            raise UserError.single(where, repr(text), "text that the tokenizer knows")
        return (*start_of(text), *ids)

    if config.prompts is None:
        return Prompts((tokens("sampling.prompt", config.prompt),), seed)
    where = f"sampling.prompts {config.prompts}"
    try:
        raw = read_regular(located(config.prompts))
        lines = _lines(raw.decode("utf-8-sig"))
    except OSError as error:
        told = error.strerror or str(error)
        fix = f"check the path; looked for {looked_for(config.prompts)}"
        fix = READ_FIX if isinstance(error, PermissionError) else fix
        raise UserError.single(where, told, "a file of prompts", fix) from None
    except UnicodeDecodeError as error:
        raise UserError.single(where, f"byte {error.start} is not UTF-8", "UTF-8 text") from None
    texts = [
        _text_of(f"{where}, line {n}", line, config.prompts) for n, line in enumerate(lines, 1)
    ]
    if not texts:
        raise UserError.single(where, "an empty file", "a prompt per line, or JSONL")
    ids = tuple(tokens(f"{where}, line {n}", text) for n, text in enumerate(texts, 1))
    is_random = config.prompt_order == "random"
    return Prompts(ids, seed, is_random, hashlib.sha256(raw).hexdigest())


def _lines(text: str) -> list[str]:
    """Lines that end with a line feed, as JSONL has it; other separators are text."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def _text_of(where: str, line: str, name: str) -> str:
    """The prompt of a line; of a .jsonl file the value of its key `prompt`."""
    if Path(name).suffix != ".jsonl":
        return line
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, LookupError, TypeError, RecursionError):
        prompt = None
    if not isinstance(prompt, str):
        raise UserError.single(where, line[:60], 'a JSON object with a text under "prompt"')
    return prompt
