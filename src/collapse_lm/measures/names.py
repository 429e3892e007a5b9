"""A row: the measured numbers of one update by dotted name, and what the names mean.

Rows are open: a new measure adds a name and changes nothing else. A name may carry a
label in brackets, `validation.loss[sotu]`, which is free text (a corpus's name may hold
dots). Every name that this package writes is described here once; docs/run-format.md
is rendered from it. Pure; knows nothing of files.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from collapse_lm.measures.model_names import LABELS, MODEL_NAMES, Name
from collapse_lm.measures.monitor_names import MONITOR_NAMES

Number = float | int


@dataclass(frozen=True)
class Row:
    """The numbers of one update.

    Attributes:
        update: 0 for the base model.
        values: by name. NaN and infinity are results; what does not apply is absent.
    """

    update: int
    values: Mapping[str, Number] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Number:
        return self.values[name]

    def get(self, name: str) -> float:
        """The value of a name, NaN where the row does not have it."""
        return float(self.values.get(name, math.nan))

    def labelled(self, name: str) -> dict[str, float]:
        """The values of a name by label, in the order of the row."""
        start = f"{name}["
        return {
            key[len(start) : -1]: float(value)
            for key, value in self.values.items()
            if key.startswith(start) and key.endswith("]")
        }


def label(name: str, of: str) -> str:
    """The name of a value that belongs to one of several, e.g. corpora."""
    return f"{name}[{of}]"


NAMES: dict[str, Name] = {
    "train.loss": Name(
        "number",
        "nats/token",
        "mean negative log-likelihood of what the step trained on, before the step, whatever the "
        "objective: the paper's train loss",
    ),
    "train.grad_norm": Name("number", "", "L2 norm of the gradient before the clip"),
    "train.lr": Name("number", "", "learning rate of the step"),
    "train.tokens": Name("count", "tokens", "tokens of the texts of the batch"),
    "train.steps": Name("count", "", "optimizer steps that were applied in the update", since=2),
    "train.applied": Name(
        "flag",
        "",
        "0 where a step was withheld since its loss or gradient was not finite (the numbers are "
        "those of that step); absent otherwise",
    ),
    "train.objective": Name(
        "number",
        "nats/token",
        "mean of what the step minimised, before the step; absent where that is the train loss",
        since=2,
    ),
    "objective.kl_reverse": Name(
        "number",
        "nats/token",
        "mean KL(trained model, base model) at the positions trained on, over the full vocabulary, "
        "before the step and without its weight (objective kl_to_base)",
        since=2,
    ),
    "objective.kl_forward": Name(
        "number",
        "nats/token",
        "as objective.kl_reverse, the other way: KL(base model, trained model)",
        since=2,
    ),
    "objective.entropy": Name(
        "number",
        "nats",
        "mean predictive entropy at the positions trained on, before the step, in the number "
        "format of training (objective entropy_bonus)",
        since=2,
    ),
    "objective.entropy_weight": Name(
        "number", "", "weight of the entropy bonus in the update", since=2
    ),
    "objective.unlikelihood": Name(
        "number",
        "nats/token",
        "mean over the targets of - sum of log(1 - p) over the tokens before, before the step and "
        "without its weight (objective unlikelihood)",
        since=2,
    ),
    "objective.dropped": Name(
        "number", "", "share of the targets that truncated_nll left out", since=2
    ),
    "draw.entropy": Name(
        "number",
        "nats",
        "mean predictive entropy of the model at the positions of the batch that it drew, at "
        "temperature 1 and unfiltered: not what the tokens were drawn from, so that it does not "
        "compare with the train loss",
    ),
    "draw.sampling_entropy": Name(
        "number",
        "nats",
        "mean entropy of the distributions that the tokens of the batch were drawn from, after "
        "temperature and filters; the train loss of whole samples is in expectation this plus "
        "KL(this, model at temperature 1)",
        since=2,
    ),
    "draw.top1": Name(
        "number",
        "",
        "mean probability that the model that drew the batch gives its likeliest token, at "
        "temperature 1 and unfiltered",
        since=2,
    ),
    "draw.forward_passes": Name(
        "count",
        "",
        "passes through the model that drew the batch; a cost like seconds: where compiled passes "
        "speculate it follows from measured time, and no token does",
    ),
    "mix.real": Name("count", "", "texts of the batch that are human (source mix)", since=2),
    "replay.texts": Name(
        "count", "", "texts of the batch that are of earlier updates (source replay)", since=2
    ),
    "generation": Name(
        "count",
        "",
        "number of the generation that the update belongs to: 0 is trained on human text, and "
        "each later one on texts of the model of the one before (source generations)",
        since=2,
    ),
    "generation.human": Name(
        "count", "", "texts of the batch that are human (source generations)", since=2
    ),
    "filter.drawn": Name(
        "count",
        "",
        "texts that the source filter had drawn for the batch; the other numbers of drawing are "
        "then of all of these",
        since=2,
    ),
    "filter.rejected": Name("count", "", "how many of them broke a limit", since=2),
    "filter.forced": Name(
        "count", "", "texts of the batch that broke one: there were no more draws", since=2
    ),
    "probe.loss": Name(
        "number",
        "nats/token",
        "mean negative log-likelihood of the probe under the model that drew it, at temperature 1 "
        "and unfiltered; under source own it is the train loss, unless steps drop or an average of "
        "the weights draws",
        since=2,
    ),
    "probe.entropy": Name("number", "nats", "as draw.entropy, of the probe", since=2),
    "probe.sampling_entropy": Name(
        "number", "nats", "as draw.sampling_entropy, of the probe", since=2
    ),
    "probe.top1": Name("number", "", "as draw.top1, of the probe", since=2),
    "probe.forward_passes": Name(
        "count", "", "passes that a probe took which is not the batch itself", since=2
    ),
    **{
        f"text.distinct_{n}": Name("number", "", f"different/total {n}-grams within a sample")
        for n in (1, 2, 3, 4)
    },
    "text.seq_rep_4": Name("number", "", "1 - different/total 4-grams within a sample"),
    "text.loop_period": Name(
        "count", "tokens", "period of the loop with the largest share; absent without a loop"
    ),
    "text.loop_share": Name("number", "", "share of the tokens inside the sample's loop"),
    "text.compression": Name("number", "", "bytes after zlib divided by bytes before"),
    "probe.degenerate_share": Name(
        "number",
        "",
        "share of the samples of the probe that are degenerate, each by itself under the "
        "thresholds of the run; it decides for a probe of several samples. Absent for one sample, "
        "which the row's numbers tell, and in rows of earlier releases, judged by their means",
        since=2,
    ),
    "probe.length": Name(
        "number",
        "tokens",
        "mean length of the samples of the probe",
        since=2,
    ),
    "pool.overlap": Name(
        "number",
        "",
        "share of the different 4-grams of the probe that stood in any of the five probes before "
        "it; absent at the first. This and the next four of a monitor: of samples that are cut to "
        "the mean length of those at the start",
        since=2,
    ),
    **{
        f"pool.distinct_{n}": Name(
            "number", "", f"different/total {n}-grams of the last five probes together", since=2
        )
        for n in (1, 2, 3, 4)
    },
    "dose.rate": Name(
        "number",
        "",
        "sum of the learning rates of all steps so far: the clock of a drift of first order",
        since=2,
    ),
    "dose.square": Name(
        "number",
        "",
        "sum of their squares, each over the number of texts in the batch: the clock of a random "
        "walk; NaN once a step was on an unknown number of texts",
        since=2,
    ),
    "base_samples.count": Name(
        "count",
        "",
        "samples of the base model that the following are of (collapse.base_samples); row 0 only",
        since=2,
    ),
    "base_samples.entropy": Name("number", "nats", "as probe.entropy, of these samples", since=2),
    "base_samples.length": Name("number", "tokens", "mean length of these samples", since=2),
    "base_samples.degenerate_share": Name(
        "number", "", "share of these samples that are degenerate", since=2
    ),
    "base_samples.overlap": Name(
        "number",
        "",
        "mean pool.overlap of these samples, dealt into probes of the size of the run's; absent "
        "where they are too few",
        since=2,
    ),
    **{
        f"base_samples.distinct_{n}": Name(
            "number", "", f"mean pool.distinct_{n} of these samples, likewise", since=2
        )
        for n in (1, 2, 3, 4)
    },
    "texts.count": Name("count", "", "texts of the group (an audit)", since=2),
    "texts.equal": Name(
        "number", "", "share of the texts of the group that equal an earlier one of it", since=2
    ),
    "texts.clipped": Name(
        "number",
        "",
        "share of the texts of the group that have the largest length of all; absent where fewer "
        "than 5 % of all have it, as it is no limit then",
        since=2,
    ),
    "score.loss": Name(
        "number",
        "nats/token",
        "mean negative log-likelihood of the first texts of the group under the model that an "
        "audit reads them with; in row 0 of those of the baseline",
        since=2,
    ),
    "score.entropy": Name("number", "nats", "mean predictive entropy of that model there", since=2),
    **MODEL_NAMES,
    **MONITOR_NAMES,
    "toy.heterozygosity": Name(
        "number",
        "",
        "probability that two words of a unigram differ, 1 - sum of p^2 (a measure of the toys, "
        "docs/toys.md)",
        since=2,
    ),
    "toy.mean": Name("number", "", "mean of a Gaussian, in its first deviations", since=2),
    "toy.variance": Name("number", "", "variance of a Gaussian, likewise", since=2),
    "seconds.sample": Name("number", "s", "wall time of drawing or choosing the batch"),
    "seconds.probe": Name("number", "s", "wall time of a probe of its own", since=2),
    "seconds.train": Name("number", "s", "wall time of the steps"),
    "seconds.evaluate": Name("number", "s", "wall time of measures, validation losses included"),
    "seconds.judge": Name("number", "s", "wall time of text measures and collapse rule", since=2),
    "seconds.log_probs": Name(
        "number", "s", "part of drawing the batch: the log-probability of each token", since=2
    ),
}


def described(name: str) -> Name | None:
    """What a name of a row means, its label aside; None for a name of another package."""
    return NAMES.get(name.partition("[")[0])


def names_table() -> Iterator[str]:
    """The lines of the table of names in docs/run-format.md."""
    yield "| name | type | unit | meaning | since |"
    yield "| --- | --- | --- | --- | --- |"
    for name, known in NAMES.items():
        of = next((of for end, of in LABELS.items() if known.meaning.endswith(end)), "")
        cells = (known.kind, known.unit, known.meaning, str(known.since))
        yield f"| `{label(name, of) if of else name}` | {' | '.join(cells)} |"
