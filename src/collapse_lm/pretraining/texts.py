"""The texts of a recipe: what is learned, and what the held-out loss is measured on.

Knows nothing of tokens. Does not import torch.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.errors import Problem, UserError
from collapse_lm.pretraining.recipe import Recipe, Size, read_recipe

_FORMAT = 1  # of what a recipe means; a change to the training that changes its outcome raises it
_PARTNERS = {"sotu-train": "sotu"}  # a corpus and the split of the same kind held out from it
_TAIL = 1 / 20  # share of a corpus without a partner that is not learned


@dataclass(frozen=True)
class Texts:
    """The text to learn and the text that is not learned."""

    learned: Corpus
    held_out: Corpus


def prepare(values: Mapping[str, Any], settings: Iterable[str] = ()) -> tuple[Recipe, Texts]:
    """Validate a recipe and read its texts; create nothing.

    Raises:
        UserError: holding every mistake of the values, the settings and the corpora.
    """
    recipe, problems = read_recipe(values, settings)
    try:
        texts = load_texts(recipe)
    except UserError as error:
        raise UserError([*problems, *error.problems]) from None
    if problems:
        raise UserError(problems)
    return recipe, texts


def load_texts(recipe: Recipe) -> Texts:
    """Read the text to learn and the held-out text, which is the end of the first by default.

    Raises:
        UserError: holding the problems of both corpora.
    """
    problems: list[Problem] = []
    held_out = recipe.held_out or _PARTNERS.get(recipe.corpus)
    learned = _collecting(problems, lambda: load_corpus(recipe.corpus))
    other = learned if held_out == recipe.corpus else None  # read and hashed once
    if held_out and held_out != recipe.corpus:
        other = _collecting(problems, lambda: load_corpus(held_out))
    if problems or learned is None:
        raise UserError(problems)
    if other is not None:
        return Texts(learned, other)
    return split_tail(learned)


def split_tail(corpus: Corpus) -> Texts:
    """Cut the last twentieth of a corpus off, at white space.

    Raises:
        UserError: for a text too short to be cut.
    """
    middle = round(len(corpus.text) * (1 - _TAIL))
    cut = next((i for i in range(middle, 0, -1) if corpus.text[i : i + 1].isspace()), 0)
    head, tail = corpus.text[:cut], corpus.text[cut:]
    if not head.strip() or not tail.strip():
        raise UserError.single(
            f"corpus {corpus.name}",
            f"{len(corpus.text)} characters",
            "a text long enough to hold its last twentieth out",
            "a longer text, or a corpus of its own with held_out",
        )
    return Texts(_part(corpus, "all but its end", head), _part(corpus, "its end", tail))


def fingerprint(recipe: Recipe, size: Size, texts: Texts) -> str:
    """SHA-256 of all that is asked of one model: its size, the recipe and both texts.

    The other sizes of the ladder are no part of it, so a ladder can grow.
    """
    asked = {
        "format": _FORMAT,
        "recipe": recipe.model_dump(mode="json", exclude={"sizes"}),
        "size": str(size),
        "texts": [texts.learned.sha256, texts.held_out.sha256],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _part(corpus: Corpus, name: str, text: str) -> Corpus:
    sha256 = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return replace(corpus, name=f"{corpus.name} ({name})", text=text, sha256=sha256)


def _collecting(problems: list[Problem], read: Callable[[], Corpus]) -> Corpus | None:
    try:
        return read()
    except UserError as error:
        problems += error.problems
        return None
