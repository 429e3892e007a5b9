"""How each run of a sweep ended: one outcome per finished run.

The collapse is judged from the rows by the rule in config.yaml; the summary is not
read. A number that the record lacks is NaN. Knows nothing of figures.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_lm.config import CollapseRule, Config
from collapse_lm.errors import UserError
from collapse_lm.measures.dose import Dose
from collapse_lm.measures.endings import Profile, profile_of
from collapse_lm.measures.names import Row, label
from collapse_lm.measures.rule import judge
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.resume import load_recorded

ENDED = ("finished", "diverged")  # other runs stopped for reasons that say nothing of the model
LAST = 5  # samples that stand for the end of a run
# What a record that was cut, mutated or made up makes Python raise past the check of its shape.
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
# A sample is repetitive from either on: the defaults of the collapse rule.
REPETITIVE = {n: float(CollapseRule.model_fields[n].default) for n in ("loop_share", "seq_rep_4")}


@dataclass(frozen=True)
class Outcome:
    """A run that ended by itself.

    Attributes:
        run: its path below the folder that all runs share.
        model: the reference in its configuration.
        label: the last part of that reference.
        parameters: tied ones counted once; None if unknown.
        parameters_without_embeddings: known for the models of `pretrain` only.
        learning_rate: of its first step, as recorded.
        temperature, sample_length, seed, max_updates: of its configuration.
        corpora: validation corpora, in the order of its configuration.
        time: the collapse update if it collapsed, else its last update.
        observed: True for a collapse; False for a run that is censored at `time`.
        collapse_update: None for a run that is censored.
        collapse_after: the last probe before it, 0 without one; None likewise. The onset lies
            after that update, and not after the collapse update: where probes are apart, the
            time is known to this interval only.
        degenerate_before_training: True where the collapse began with the base model's own
            sample. Such a run has no time to collapse under training (see `at_risk`).
        status: finished or diverged. A run that diverged before it collapsed is
            censored at its last update, though divergence may be no accident.
        updates: its last update (past the collapse by the rule's patience, or more).
        criteria: which of the rule's criteria fired at the collapse.
        validation: corpus -> (at update 0, at the first evaluation from the collapse on
            or NaN, at the end), nats per token.
        train_first, train_last, train_lowest: train loss, nats per token.
        entropy_first, entropy_last: entropy of the first probe and the last (`probe.entropy`),
            nats.
        loop_share, seq_rep_4: means over the last five samples.
        repetitive: share of these samples with a loop share of at least .5 or a
            seq-rep-4 of at least .6.
    """

    run: str
    model: str
    label: str
    parameters: int | None
    parameters_without_embeddings: int | None
    learning_rate: float
    temperature: float
    sample_length: int
    seed: int
    max_updates: int
    corpora: tuple[str, ...]
    time: int
    observed: bool
    collapse_update: int | None
    collapse_after: int | None
    degenerate_before_training: bool
    status: str
    updates: int
    criteria: tuple[str, ...]
    validation: Mapping[str, tuple[float, float, float]]
    train_first: float
    train_last: float
    train_lowest: float
    entropy_first: float
    entropy_last: float
    loop_share: float
    seq_rep_4: float
    repetitive: float

    @property
    def rise(self) -> float:
        """Change of the validation loss on the first corpus, nats per token; NaN without one."""
        start, _, end = next(iter(self.validation.values()), (math.nan,) * 3)
        return end - start


@dataclass(frozen=True)
class Measured:
    """An outcome with its configuration, the rows behind it, and where it was read.

    Rows may be some of those that the run has (see `analysis/kept`): `profile` then is what all
    of them gave, else None.
    """

    outcome: Outcome
    rows: Sequence[Row]
    reader: RunReader
    config: Config
    profile: Profile | None = None

    def endings(self) -> Profile:
        """The states that the run got into, by its own thresholds."""
        return self.profile or profile_of(self.rows, self.config.collapse)

    def dose(self) -> dict[int, float]:
        """The sum of the learning rates so far, by update; of rows without it, as they add up."""
        dose, found = Dose(), dict[int, float]()
        for row in self.rows:
            dose.replay(row, 0)
            found[row.update] = dose.rate
        return found

    def train_loss(self) -> dict[int, float]:
        """Train loss (nats per token) by update, from update 1 on."""
        return {row.update: row.get("train.loss") for row in self.rows if row.update}

    def validation_loss(self, corpus: str) -> dict[int, float]:
        """Validation loss (nats per token) by update, where the corpus was evaluated."""
        return self.series(label("validation.loss", corpus))

    def series(self, name: str) -> dict[int, float]:
        """Any number of the rows by update, where a row has it."""
        return {row.update: row.get(name) for row in self.rows if name in row.values}


@dataclass(frozen=True)
class LeftOut:
    """A run that has no outcome, and why."""

    run: str
    reason: str


def measure_runs(
    readers: Sequence[RunReader], root: Path | None = None
) -> tuple[list[Measured], list[LeftOut]]:
    """Read runs; return those that ended by themselves, and the others with the reason.

    A run that failed, was interrupted or is still running is left out, and so is one
    whose record is damaged or holds no row.

    Args:
        readers: the runs; one that is given twice counts once.
        root: folder that run names are relative to; by default the nearest that holds all.
    """
    found: list[Measured] = []
    left_out: list[LeftOut] = []
    root = root or common_folder(readers)
    for path in sorted({reader.path.absolute() for reader in readers}):
        name = Path(os.path.relpath(path, root)).as_posix()
        run = _measure(name, RunReader(path))
        if isinstance(run, LeftOut):
            left_out.append(run)
        else:
            found.append(run)
    return found, left_out


def at_risk(runs: Sequence[Measured]) -> tuple[list[Measured], list[LeftOut]]:
    """Return the runs whose time to collapse means something, and the others with the reason.

    A run that began with degenerate samples of the base model was never at risk: what
    happened at update 1 is no effect of training, whatever the run was to show.
    """
    began = [run for run in runs if run.outcome.degenerate_before_training]
    reason = "degenerate before any training, so it has no time to collapse"
    left_out = [LeftOut(run.outcome.run, reason) for run in began]
    return [run for run in runs if not run.outcome.degenerate_before_training], left_out


def common_folder(readers: Sequence[RunReader]) -> Path:
    """Return the nearest folder that holds all run directories."""
    parents = {reader.path.absolute().parent for reader in readers}
    return Path(os.path.commonpath(parents)) if parents else Path()


def _measure(name: str, reader: RunReader) -> Measured | LeftOut:
    try:
        manifest, rows = reader.manifest(), reader.updates()
        if manifest["status"] not in ENDED:
            return LeftOut(name, f"status: {manifest['status']}")
        if not rows:
            return LeftOut(name, "no rows")
        config = load_recorded(reader.path)
        return Measured(_outcome(name, config, manifest["model"], rows), rows, reader, config)
    except (*DAMAGE, UserError) as error:
        first_line = str(error).strip().partition("\n")[0]
        return LeftOut(name, f"damaged: {type(error).__name__}: {first_line}")


def _outcome(name: str, config: Config, model: Mapping[str, Any], rows: Sequence[Row]) -> Outcome:
    verdict = judge(rows, config.collapse)
    updates = rows[-1].update
    corpora = tuple(next((found for r in rows if (found := r.labelled("validation.loss"))), ()))
    train = [row.get("train.loss") for row in rows if row.update]
    entropy = [row.get("probe.entropy") for row in rows if "probe.entropy" in row.values]
    ending = [row for row in rows if "text.loop_share" in row.values][-LAST:]
    return Outcome(
        run=name,
        model=config.model,
        label=Path(config.model).name or config.model,
        parameters=None if model.get("parameters") is None else int(model["parameters"]),
        parameters_without_embeddings=_without_embeddings(model),
        learning_rate=first_rate(
            rows, config.training.learning_rate, moves=config.training.schedule.moves_the_rate
        ),
        temperature=config.sampling.temperature,
        sample_length=config.sampling.max_new_tokens,
        seed=config.seed,
        max_updates=config.run.max_updates,
        corpora=corpora,
        time=updates if verdict.collapse_update is None else verdict.collapse_update,
        observed=verdict.collapsed,
        collapse_update=verdict.collapse_update,
        collapse_after=last_probe_before(rows, verdict.collapse_update),
        degenerate_before_training=verdict.from_the_start,
        status="diverged" if _has_diverged(rows) else "finished",
        updates=updates,
        criteria=verdict.reasons,
        validation={name: _ends(rows, name, verdict.collapse_update) for name in corpora},
        train_first=train[0] if train else math.nan,
        train_last=train[-1] if train else math.nan,
        train_lowest=min((x for x in train if not math.isnan(x)), default=math.nan),
        entropy_first=entropy[0] if entropy else math.nan,
        entropy_last=entropy[-1] if entropy else math.nan,
        loop_share=_mean([row.get("text.loop_share") for row in ending]),
        seq_rep_4=_mean([row.get("text.seq_rep_4") for row in ending]),
        repetitive=_mean([float(is_repetitive(row)) for row in ending]),
    )


def first_rate(rows: Sequence[Row], configured: float, *, moves: bool = False) -> float:
    """The learning rate of the first step, as recorded; as configured without a step.

    Args:
        rows: of the run.
        configured: `training.learning_rate`.
        moves: a schedule moves the rate from update to update: then it is as configured, too.
    """
    if moves:
        return configured
    return next((row.get("train.lr") for row in rows if "train.lr" in row.values), configured)


def last_probe_before(rows: Sequence[Row], update: int | None) -> int | None:
    """The last update before another that had a probe, 0 without one; None without that other."""
    if update is None:
        return None
    probed = (row.update for row in rows if "text.loop_share" in row.values)
    return max((seen for seen in probed if seen < update), default=0)


def spacing(runs: Sequence[Measured]) -> int:
    """Updates from one probe to the next, in the run that has the fewest: times are no finer."""
    return max((run.config.probe.every for run in runs), default=1)


def is_repetitive(row: Row) -> bool:
    """True for a row whose probe is a loop or poor in new 4-grams."""
    return any(row.get(f"text.{name}") >= least for name, least in REPETITIVE.items())


def _has_diverged(rows: Sequence[Row]) -> bool:
    return any(row.values.get("train.applied") == 0 for row in rows)


def _ends(rows: Sequence[Row], corpus: str, collapse: int | None) -> tuple[float, float, float]:
    """Validation loss at the start, from the collapse on, and at the end."""
    name = label("validation.loss", corpus)
    losses = [(row.update, row.get(name)) for row in rows if name in row.values]
    after = [loss for update, loss in losses if collapse is not None and update >= collapse]
    return losses[0][1], after[0] if after else math.nan, losses[-1][1]


def _without_embeddings(model: Mapping[str, Any]) -> int | None:
    """What `pretrain` wrote beside the weights; None for any other model, or a moved one."""
    if model.get("kind", "local") != "local":
        return None
    try:
        path = Path(model["location"]).expanduser() / "provenance.json"
        return int(json.loads(path.read_text(encoding="utf-8"))["parameters"]["without_embeddings"])
    except DAMAGE:
        return None


def _mean(values: Sequence[float]) -> float:
    """Mean of the values that are defined, NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
