"""What the columns of a sweep's tables mean; docs/run-format.md is rendered from it.

Rows of a run (updates.jsonl) have dotted names; a column that holds one of them says which.
"""

from collections.abc import Iterator
from dataclasses import dataclass

RUNS, UPDATES, SURVIVAL = "runs", "updates", "survival"
_ALL, _BOTH = (RUNS, UPDATES, SURVIVAL), (RUNS, UPDATES)


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        tables: in which it stands.
        unit: empty where it has none.
        meaning: in a sentence.
        name: of the same number in the rows of a run; empty where they have none.
    """

    tables: tuple[str, ...]
    unit: str
    meaning: str
    name: str = ""


COLUMNS: dict[str, Column] = {
    "group": Column(
        _ALL, "", "what the runs vary: learning rate, size or phase; sweep for any other keys"
    ),
    "KEY": Column(
        _ALL,
        "",
        "the value of a key that the sweep is over, a column per key, by its dotted name "
        "(`training.weight_decay`); as in config.yaml",
    ),
    "level": Column((SURVIVAL,), "", "the values of the keys in words"),
    "run": Column(_BOTH, "", "the run directory, below the folder that holds all runs"),
    "model": Column((RUNS,), "", "the reference in its configuration"),
    "label": Column(_BOTH, "", "the last part of that reference"),
    "parameters": Column(_BOTH, "", "of the model, tied ones counted once; empty if unknown"),
    "parameters_without_embeddings": Column(
        (RUNS,), "", "known for the models of `pretrain` only; else empty"
    ),
    "learning_rate": Column(
        _BOTH,
        "",
        "of the first step, as recorded; `training.learning_rate` where a schedule moves it",
        "train.lr",
    ),
    "temperature": Column(_BOTH, "", "`sampling.temperature`"),
    "sample_length": Column(_BOTH, "tokens", "`sampling.max_new_tokens`"),
    "seed": Column(_BOTH, "", "of the run"),
    "max_updates": Column((RUNS,), "updates", "`run.max_updates`"),
    "time": Column(
        (RUNS, SURVIVAL),
        "updates",
        "runs: the collapse update, or the last update of a run that is censored; survival: the "
        "update at which a row of the curve stands",
    ),
    "observed": Column(
        (RUNS,), "", "True where `time` is a collapse, False where it is censored at `time`"
    ),
    "collapse_update": Column((RUNS,), "updates", "as in summary.json; empty where censored"),
    "collapse_after": Column(
        (RUNS,),
        "updates",
        "the last probe before it, 0 without one: the onset lies after that update and up to the "
        "collapse update; empty where censored",
    ),
    "degenerate_before_training": Column(
        (RUNS,),
        "",
        "True where the collapse began with the base model's own sample: such a run has no time "
        "to collapse, and is in no survival curve, effect, test or claim",
    ),
    "status": Column(
        (RUNS,),
        "",
        "finished or diverged; of a run that is left out why, and its other cells are empty",
    ),
    "updates": Column(
        (RUNS,), "updates", "the last update: past a collapse by patience and aftermath"
    ),
    "criteria": Column((RUNS,), "", "which criteria of the rule fired at the collapse"),
    "train_first": Column((RUNS,), "nats/token", "train loss at update 1", "train.loss"),
    "train_last": Column((RUNS,), "nats/token", "train loss at the last update", "train.loss"),
    "train_lowest": Column((RUNS,), "nats/token", "the lowest train loss", "train.loss"),
    "entropy_first": Column((RUNS,), "nats", "entropy of the first probe", "probe.entropy"),
    "entropy_last": Column((RUNS,), "nats", "entropy of the last probe", "probe.entropy"),
    "loop_share": Column(
        _BOTH, "", "of the probe; runs: mean over the last five probes", "text.loop_share"
    ),
    "seq_rep_4": Column(
        _BOTH, "", "of the probe; runs: mean over the last five probes", "text.seq_rep_4"
    ),
    "repetitive": Column(
        (RUNS,),
        "",
        "share of the last five probes with a loop_share of at least .5 or a seq_rep_4 of at "
        "least .6 (the defaults of the rule, whatever the run's were)",
    ),
    "validation_CORPUS_start": Column(
        (RUNS,), "nats/token", "validation loss at update 0", "validation.loss[CORPUS]"
    ),
    "validation_CORPUS_collapse": Column(
        (RUNS,),
        "nats/token",
        "the same at the first evaluation from the collapse on; nan without one",
        "validation.loss[CORPUS]",
    ),
    "validation_CORPUS_end": Column(
        (RUNS,), "nats/token", "the same at the last evaluation", "validation.loss[CORPUS]"
    ),
    "update": Column((UPDATES,), "", "0 is the base model", "update"),
    "corpus": Column((UPDATES,), "", "a row per corpus; empty where the update was not evaluated"),
    "loss": Column((UPDATES,), "nats/token", "on the corpus", "validation.loss[CORPUS]"),
    "perplexity": Column((UPDATES,), "", "on the corpus", "validation.perplexity[CORPUS]"),
    "bits_per_byte": Column(
        (UPDATES,), "bits/byte", "on the corpus", "validation.bits_per_byte[CORPUS]"
    ),
    "train_loss": Column((UPDATES,), "nats/token", "of the batch, before the step", "train.loss"),
    "entropy": Column(
        (UPDATES,), "nats", "of the probe, at temperature 1 and unfiltered", "probe.entropy"
    ),
    "sampling_entropy": Column(
        (UPDATES,), "nats", "of what the probe was drawn from", "probe.sampling_entropy"
    ),
    "distinct_1": Column((UPDATES,), "", "of the probe", "text.distinct_1"),
    "distinct_2": Column((UPDATES,), "", "of the probe", "text.distinct_2"),
    "compression": Column((UPDATES,), "", "of the probe", "text.compression"),
    "runs": Column((SURVIVAL,), "", "number of runs of the level that have a time to collapse"),
    "collapses": Column((SURVIVAL,), "", "how many of them collapsed"),
    "median": Column(
        (SURVIVAL,), "updates", "time to collapse (Kaplan-Meier); empty where it is not reached"
    ),
    "median_lower": Column(
        (SURVIVAL,), "updates", "limit of its 95 % interval (Brookmeyer-Crowley); empty if none"
    ),
    "median_upper": Column((SURVIVAL,), "updates", "likewise"),
    "at_risk": Column((SURVIVAL,), "", "runs that neither collapsed nor ended before `time`"),
    "events": Column((SURVIVAL,), "", "collapses at `time`"),
    "censored": Column((SURVIVAL,), "", "runs that ended at `time` without a collapse"),
    "survival": Column((SURVIVAL,), "", "share of runs that have not collapsed after `time`"),
    "lower": Column(
        (SURVIVAL,), "", "limit of its pointwise 95 % interval (log-log); nan at a share of 0 or 1"
    ),
    "upper": Column((SURVIVAL,), "", "likewise"),
    "note": Column((SURVIVAL,), "", "what could not be estimated"),
}


def columns_table() -> Iterator[str]:
    """The lines of the table of columns in docs/run-format.md."""
    yield "| column | in | unit | meaning | name in a run's rows |"
    yield "| --- | --- | --- | --- | --- |"
    for column, known in COLUMNS.items():
        name = f"`{known.name}`" if known.name else ""
        cells = (", ".join(known.tables), known.unit, known.meaning, name)
        yield f"| `{column}` | {' | '.join(cells)} |"
