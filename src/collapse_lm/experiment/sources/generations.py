"""Generations: whole data sets that one model drew, and the fit of the next model to them.

Generation 0 is trained on human text. At the first update of each later one the source draws
all of its texts from the model as it is, that of the generation before; only then the weights
begin anew (`restart`). A generation is a stretch of the one loop: a pure function of the update
says which generation it belongs to, and which texts of the data set are its batch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from collapse_lm import rng
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Generation, Text
from collapse_lm.experiment.models import Moment, Saved
from collapse_lm.experiment.restart import require_drawable
from collapse_lm.experiment.sources.around import together
from collapse_lm.experiment.sources.beams import BeamSearch
from collapse_lm.experiment.sources.numbers import chosen
from collapse_lm.experiment.sources.own import Sampling, as_batch
from collapse_lm.experiment.sources.packed import Packed
from collapse_lm.experiment.sources.real import real_text
from collapse_lm.measures.names import Number

if TYPE_CHECKING:
    from collapse_lm.config.kinds.generations import Generations
    from collapse_lm.experiment.build import Context

Place = tuple[int, int]  # of a text: the generation whose texts it is among, and which of them
_HUMAN = 0  # the generation of the human texts
_Ids = tuple[int, ...]


class GenerationTexts:
    """Gives the batches of all generations, and draws the data set of each at its first update.

    Args:
        plan: how many texts, epochs, generations; what is kept.
        sampling: how texts are drawn; its batch size is that of training.
        human: the human texts; none where the plan has none.
        start_token: stands before a text that is learned without its prompt.
        beams: find the texts, in place of drawing them.
    """

    def __init__(
        self,
        plan: "Generations",
        sampling: Sampling,
        human: Sequence[Text],
        start_token: int,
        beams: BeamSearch | None = None,
    ) -> None:
        self._plan, self._sampling, self._beams = plan, sampling, beams
        self._human, self._start = tuple(human), start_token
        self._drawn: dict[int, Packed] = {}  # by generation

    def draw(self, at: Moment) -> Batch:
        """The next batch of the generation that an update belongs to."""
        size = self._sampling.config.batch_size
        here = generation_of(self._plan, at.update, size)
        first = at.update - here.update + 1
        told: dict[str, Number] = {"generation": here.number}
        if here.update == 1 and here.number > _HUMAN:
            told |= self._draw_all(at, here.number)
        places = self._data_set(here.number, first)
        epoch, step = divmod(here.update - 1, -(-len(places) // size))
        order = torch.randperm(len(places), generator=self._numbers(first, 1 + epoch)).tolist()
        texts = [self._text(places[i]) for i in order[step * size : (step + 1) * size]]
        told["generation.human"] = sum(text.origin.startswith("corpus:") for text in texts)
        return Batch(tuple(texts), told, here)

    def replay(self, texts: tuple[Text, ...]) -> None:
        """Nothing to note: what was drawn and not yet trained on stands in no row."""

    def state(self) -> Saved:
        """The texts that models drew, as far as they are still needed."""
        return {
            f"{number}.{name}": tensor
            for number, packed in self._drawn.items()
            for name, tensor in packed.tensors().items()
        }

    def load(self, state: Saved) -> None:
        """Take them over.

        Raises:
            ValueError: for texts of something else.
        """
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            number, _, name = key.partition(".")
            found.setdefault(int(number), {})[name] = tensor
        self._drawn = {number: Packed.from_tensors(named) for number, named in found.items()}

    def _draw_all(self, at: Moment, number: int) -> Mapping[str, Number]:
        """Draw the texts of a generation; return what drawing them told and cost."""
        kept = set(self._kept(number, at.update))
        wanted = [i for i in range(self._plan.texts) if i not in kept]
        prompts = self._prompts(at.update, number)
        rows = self._plan.rows
        batches = [
            self._draw_some(at, part, [prompts[i] for i in wanted[part * rows :][:rows]])
            for part in range(-(-len(wanted) // rows))
        ]
        if self._plan.keep == "replace":
            self._drawn.clear()
        if wanted:
            self._drawn[number] = Packed.of([text for batch in batches for text in batch.texts])
        return together(batches)

    def _draw_some(self, at: Moment, part: int, prompts: Sequence[_Ids]) -> Batch:
        network = at.models.sampler
        if self._beams:
            batch = self._beams.draw(network, prompts)
        else:
            batch = as_batch(self._sampling.draw(network, prompts, (at.update, part)), "own")
        if self._plan.prompts == "sampling":
            return batch
        texts = (
            Text((self._start,), t.ids, "own", log_probs=t.log_probs, entropies=t.entropies)
            for t in batch.texts
        )
        return Batch(tuple(texts), batch.values)

    def _prompts(self, update: int, number: int) -> Sequence[_Ids]:
        """What each text of a generation goes on from."""
        if self._plan.prompts == "human":
            return [text.ids for text in self._human]
        prompts = self._sampling.prompts
        return prompts.of(update if prompts.is_random else number, self._plan.texts)

    def _data_set(self, number: int, first: int) -> list[Place]:
        """The texts of a generation that begins with an update."""
        plan = self._plan
        if number == _HUMAN:
            return [(_HUMAN, i) for i in range(plan.texts)]
        if plan.keep == "replace":
            kept = self._kept(number, first)
            new = range(plan.texts - len(kept))
            return [*((_HUMAN, i) for i in kept), *((number, i) for i in new)]
        every = [(g, i) for g in range(plan.first, number + 1) for i in range(plan.texts)]
        if plan.keep == "accumulate":
            return every
        return [every[i] for i in chosen(plan.texts, len(every), self._numbers(first, 0))]

    def _kept(self, number: int, first: int) -> list[int]:
        """The human texts that stay in a generation whose others are new."""
        real = self._plan.real
        count = round(real.share * self._plan.texts) if real and number > _HUMAN else 0
        return chosen(count, self._plan.texts, self._numbers(first, 0)) if count else []

    def _numbers(self, first: int, which: int) -> torch.Generator:
        """Random numbers of a generation: 0 chooses texts, 1 and more order those of an epoch."""
        more = [0, 0, which] if which else []
        return rng.stream(self._sampling.seed, "source", first, *more)

    def _text(self, place: Place) -> Text:
        number, index = place
        if number == _HUMAN:
            return self._human[index]
        return self._drawn[number].text(index, f"generation:{number}")


def generation_of(plan: "Generations", update: int, batch_size: int) -> Generation:
    """The generation of an update of the run (from 1), and the update's place in it."""
    number, before = plan.first, 0
    while update > before + (updates := plan.updates(number, batch_size)):
        number, before = number + 1, before + updates
    return Generation(number, update - before, updates, plan.start)


def generations(plan: "Generations", context: "Context") -> GenerationTexts:
    """Make the source of a run; reads the human text.

    Raises:
        UserError: for a corpus that cannot be had or is too short, for weights that cannot be
            drawn, and for beams where transformers does not search.
    """
    if plan.start == "scratch":
        require_drawable(
            context.model.network, has_adapters=context.config.training.lora is not None
        )
    sampling, human = context.sampling(), _human(plan, context)
    _require_many(plan, sampling)
    beams = BeamSearch(context.model.network, plan.beams, sampling) if plan.beams > 1 else None
    return GenerationTexts(plan, sampling, human, context.start_token, beams)


def _require_many(plan: "Generations", sampling: Sampling) -> None:
    """Refuse a data set of one text, over and over: no random number, and only one prompt."""
    is_greedy = sampling.config.temperature == 0 or sampling.config.top_k == 1
    is_certain = plan.beams > 1 or is_greedy
    if is_certain and plan.prompts == "sampling" and len(set(sampling.prompts.ids)) == 1:
        got = "one prompt, which has one likeliest text"
        fix = "--set source.prompts=human, sampling.prompts=FILE, or samples that are drawn"
        raise UserError.single("source.prompts", got, "several prompts", fix)


def _human(plan: "Generations", context: "Context") -> list[Text]:
    """The human data set: blocks of the corpus, chosen at random, in its order."""
    if plan.real is None:
        return []
    corpus = real_text(context, plan.real.corpus, "stream")
    blocks = len(corpus.ids) // corpus.length
    if blocks < plan.texts:
        got = f"{plan.texts}, of a corpus that has {blocks} blocks of {corpus.length} tokens"
        fix = f"--set source.texts={blocks}, or a longer text"
        raise UserError.single("source.texts", got, f"at most {blocks}", fix)
    starts = chosen(plan.texts, blocks, rng.stream(context.seed, "source"))
    blocks_KL = corpus.ids[: blocks * corpus.length].reshape(blocks, corpus.length)
    start = (context.start_token,)
    return [Text(start, tuple(blocks_KL[i].tolist()), corpus.origin) for i in starts]
