"""For a training loop of your own: draw from its model, score it, see it as the rule does.

    model = LanguageModel.of(network, tokenizer)     # or load_model("smollm2-135m")
    watch = Watch(CollapseRule())
    ...                                              # after each of your steps:
    verdict = watch.see(probe_row(step, sample(model, seed=step)))

The model is read as it is at each call, wherever it lies and whatever trains it; only its
working copies are kept between calls.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload
from weakref import WeakKeyDictionary

from collapse_lm.config import CollapseRule, Config, SamplingConfig, resolve
from collapse_lm.config.keys import did_you_mean
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import Problem, UserError
from collapse_lm.experiment.batch import Batch, Text, checked
from collapse_lm.experiment.build import (
    decode,
    evaluation_sets,
    load_corpora,
    own_samples,
)
from collapse_lm.experiment.facts import mean_loss, spelled, text_metrics
from collapse_lm.experiment.lengths import check_positions, default_context, evaluation_lengths
from collapse_lm.experiment.ready import ReadyModel, Weights, phases_of_config, ready_model
from collapse_lm.experiment.sources.own import as_batch
from collapse_lm.inference import (
    Network,
    in_evaluation,
    inference_network,
    is_touched,
)
from collapse_lm.machine.compute import Precision
from collapse_lm.measures import validation
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.seen import probe_values
from collapse_lm.measures.validation import CorpusLoss
from collapse_lm.models.load import LanguageModel, load_model, name_of
from collapse_lm.models.own_code import own_code
from collapse_lm.models.trial import try_once

AnyModel = LanguageModel | str | Path
_SAMPLING = {*SamplingConfig.model_fields} - {"batch_size"}  # `samples` is the number of them
_DEFAULTS = CollapseRule()
_WINDOWS = ("context", "stride", "tokens", "start_token")
AnyPrecision = Literal["auto", "float32", "bfloat16"]


def sample(
    model: AnyModel,
    prompt: str = "",
    *,
    samples: int = 1,
    seed: int = 0,
    update: int = 1,
    precision: AnyPrecision = "auto",
    **settings: Any,
) -> Batch:
    """Draw samples, as the update of a run with this seed would from the model as it is.

    Args:
        model: what `load_model` returns, or what it takes.
        prompt: text before each sample; an empty one is the start token.
        samples: how many.
        seed: of the random numbers.
        update: whose random numbers they are.
        precision: of the passes; auto takes bfloat16 where the hardware has it.
        settings: further keys of the section `sampling` with their defaults: temperature,
            top_k, top_p, max_new_tokens, prompts="prompts.txt" for a file of prompts, ...

    Returns:
        The texts with their token ids and the log-probability (nats, at temperature 1 and
        unfiltered) of each token, and numbers of the draw under `values`.

    Raises:
        UserError: for a setting that does not fit, or a model that cannot be had.
    """
    _require_known(settings, "samples", "seed", "update", "precision", *sorted(_SAMPLING))
    sampling = {"prompt": prompt, "batch_size": samples, **settings}
    config = _config(model, precision, seed=seed, sampling=sampling)
    with _ready(model, config, "sampling") as ready:
        drawn = as_batch(own_samples(config, ready).sample(ready.sampler, update), "own")
        return spelled(drawn, lambda texts: [decode(ready.model, ids) for ids in texts])


@overload
def evaluate(model: AnyModel, corpora: str | EvaluationSet, **settings: Any) -> CorpusLoss: ...
@overload
def evaluate(
    model: AnyModel, corpora: Sequence[str | EvaluationSet], **settings: Any
) -> dict[str, CorpusLoss]: ...
def evaluate(
    model: AnyModel,
    corpora: str | EvaluationSet | Sequence[str | EvaluationSet],
    *,
    precision: AnyPrecision = "auto",
    **settings: Any,
) -> CorpusLoss | dict[str, CorpusLoss]:
    """Score a model on fixed windows of real text.

    Args:
        model: what `load_model` returns, or what it takes.
        corpora: a corpus (`sotu`, `wikitext2`, `text:PATH`, ...), or an `evaluation_set`,
            which is tokenized once; or several.
        precision: of the passes; auto takes bfloat16 where the hardware has it.
        settings: context, stride, tokens, start_token, as of the section `evaluation`;
            context is by default what the model has, at most 1,024. `tokens` is rounded to
            whole windows. Of no effect on an evaluation set.

    Returns:
        The loss on the corpus; for several corpora, a loss by name.

    Raises:
        UserError: for a corpus or model that cannot be had, or that does not fit, such as
            an evaluation set of another tokenizer.
    """
    _require_known(settings, *_WINDOWS, "precision")
    is_one = isinstance(corpora, (str, EvaluationSet))
    wanted = [corpora] if isinstance(corpora, (str, EvaluationSet)) else list(corpora)
    config = _config(model, precision)
    with _ready(model, config, "evaluation") as ready:
        sets = [_fitting(ready.model, data, settings) for data in wanted]
        losses = validation.evaluate_all(ready.evaluator, sets)
    return next(iter(losses.values())) if is_one else losses


def evaluation_set(model: AnyModel, corpus: str, **settings: Any) -> EvaluationSet:
    """Tokenize and window a corpus for a model once, to score it many times.

    Args:
        model: what `load_model` returns, or what it takes.
        corpus: its name, or `text:PATH`.
        settings: as for `evaluate`.

    Raises:
        UserError: for a corpus or model that cannot be had, or that does not fit.
    """
    _require_known(settings, *_WINDOWS)
    held = model if isinstance(model, LanguageModel) else load_model(model)
    return _tokenized(held, corpus, settings)


def probe_row(update: int, probe: Batch | Sequence[Text], rule: CollapseRule = _DEFAULTS) -> Row:
    """What the collapse rule and the text metrics see in samples, as a row of that update.

    Args:
        update: of your loop.
        probe: what `sample` returns, or texts of your own sampler, whose ids may be a list,
            an array or a tensor; those without log-probabilities have no loss, and the rule
            then looks at the texts alone.
        rule: the one that will judge; of several samples the row tells which share it calls
            degenerate.

    Returns:
        A row with `probe.loss`, `text.loop_share`, `text.seq_rep_4`, ...
        (docs/run-format.md), for `Watch.see` and `judge`.

    Raises:
        UserError: for anything but texts with ids, and for none.
    """
    given = Batch(tuple(probe)) if isinstance(probe, (list, tuple)) else probe
    probe = checked(given, "probe_row")
    if not probe.texts or not all(text.ids for text in probe.texts):
        raise UserError.single("probe_row", "no text, or one of no tokens", "what a model drew")
    told = {n: value for n, value in probe.values.items() if n.startswith("draw.")}
    named: dict[str, Number] = {n.replace("draw.", "probe."): v for n, v in told.items()}
    named |= {"probe.loss": mean_loss(probe), **text_metrics(probe)}
    return Row(update, {**named, **probe_values(probe.texts, rule)})


def _config(model: AnyModel, precision: AnyPrecision, **changes: Any) -> Config:
    return resolve({"model": name_of(model), "precision": precision, **changes})


def _require_known(settings: dict[str, Any], *arguments: str) -> None:
    """Refuse what is no argument of the caller's."""
    known = list(arguments)
    problems = [
        Problem(
            name, "an unknown argument", f"one of {', '.join(known)}", did_you_mean(name, known)
        )
        for name in settings
        if name not in known
    ]
    if problems:
        raise UserError(problems)


def _fitting(
    model: LanguageModel, data: str | EvaluationSet, settings: dict[str, Any]
) -> EvaluationSet:
    """What a model is scored on: made for it now, or before."""
    if not isinstance(data, EvaluationSet):
        return _tokenized(model, data, settings)
    data.require_of(model.tokenizer, model.provenance.reference)
    return data


def _tokenized(model: LanguageModel, corpus: str, settings: dict[str, Any]) -> EvaluationSet:
    evaluation = {"context": default_context(model), **settings, "corpora": [corpus]}
    config = resolve({"evaluation": evaluation})
    check_positions(model, evaluation_lengths(config))
    return evaluation_sets(config, model, load_corpora(config))[0]


@contextmanager
def as_it_is(
    model: LanguageModel, precision: AnyPrecision, phase: Literal["sampling", "evaluation"]
) -> Iterator[ReadyModel]:
    """A model that its caller holds, ready to be read for the body of a with statement.

    Args:
        model: as it is now; it stays in the mode in which it is found.
        precision: of the passes; float32 reads the model's own weights, in any format.
        phase: what it is read for.
    """
    with _ready(model, _config(model, precision), phase) as ready:
        yield ready


@contextmanager
def _ready(model: AnyModel, config: Config, phase: str) -> Iterator[ReadyModel]:
    """The model with working weights that are as its own are now, and without dropout.

    The weights are those of one phase, whatever asks for them.
    """
    if not isinstance(model, LanguageModel):
        yield ready_model(config)
        return
    phases = phases_of_config(config, model.network)
    with in_evaluation(model.network):
        working = _working(model, phases.words[phase], decodes=phase == "sampling")
        weights = Weights(model.network, model.network)
        yield ReadyModel(model, phases, working, working, weights)


def _working(model: LanguageModel, precision: Precision, *, decodes: bool) -> Network:
    kept, shape = _WORKING.setdefault(model, {}), _shape(model.network)
    use = precision, decodes and precision == "float32"  # a bfloat16 copy does for both
    before, working = kept.get(use, (None, None))
    if working is not None and before == shape:
        working.refresh()
        return working
    name = model.provenance.reference
    if model.provenance.kind == "memory":
        try_once(name, model.network)
    with own_code(name, "its first passes"):
        working = inference_network(model.network, precision, decodes=decodes)
    kept[use] = shape, working
    return working


def _shape(network: Any) -> list[Any]:
    """Modules and places of weights: where one is another, working weights are made anew."""
    weights = [(p.data_ptr(), p.dtype, p.device, p.shape) for p in network.parameters()]
    modules = [(id(m), type(m), is_touched(m)) for m in network.modules()]
    return [*weights, *modules]


_Use = tuple[Precision, bool]  # and whether it draws, token by token
# The working weights of models that their caller holds, by use, and what they are of.
_WORKING: WeakKeyDictionary[LanguageModel, dict[_Use, tuple[list[Any], Network]]] = (
    WeakKeyDictionary()
)
