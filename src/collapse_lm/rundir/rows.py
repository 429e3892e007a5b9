"""The rows of a run and its summary, as Python values and as JSON.

JSON has no NaN or infinity: such a value is written as null and its dotted path
listed under `nonfinite`, so that it is neither lost nor taken for a zero.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from collapse_lm.measures.rule import CollapseRule, Observation, judge
from collapse_lm.measures.text import TextMetrics

FORMAT_VERSION = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class UpdateRecord:
    """Raw facts of one update; row 0 is the base model and holds validation only.

    Attributes:
        update: number of the update, 0 for the base model.
        train_loss: nats per token of the samples under the model before the update.
        grad_norm: before the clip.
        lr: learning rate of the step.
        tokens: sampled tokens.
        validation: per corpus, the fields of a CorpusLoss; empty where not evaluated.
        text: text metrics of the samples.
        entropy: mean predictive entropy (nats) of the model while it sampled.
        seconds: wall time of sample, train and evaluate.
        forward_passes: of the sampler.
        applied: False when the step was withheld, as loss or gradient was not finite.
        prompt, samples, texts: what was drawn, as token ids and as text.
    """

    update: int
    train_loss: float | None = None
    grad_norm: float | None = None
    lr: float | None = None
    tokens: int = 0
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    text: TextMetrics | None = None
    entropy: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    forward_passes: int = 0
    applied: bool = True
    prompt: tuple[int, ...] = ()
    samples: tuple[tuple[int, ...], ...] = ()
    texts: tuple[str, ...] = ()

    def row(self) -> Row:
        """Return the line of updates.jsonl."""
        row = {
            "update": self.update,
            "train_loss": self.train_loss,
            "grad_norm": self.grad_norm,
            "lr": self.lr,
            "tokens": self.tokens,
            "validation": {name: dict(loss) for name, loss in self.validation.items()},
            "text": asdict(self.text) if self.text else None,
            "entropy": self.entropy,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "forward_passes": self.forward_passes,
        }
        return row if self.applied else {**row, "applied": False}

    def sample_row(self) -> Row:
        """Return the line of samples.jsonl."""
        return {
            "update": self.update,
            "prompt": list(self.prompt),
            "ids": [list(ids) for ids in self.samples],
            "text": list(self.texts),
        }


def to_json(row: Mapping[str, Any]) -> str:
    """Serialise a row on one line; see the module's word on what JSON lacks."""
    lost: list[str] = []
    clean = _without_nonfinite(row, "", lost)
    if lost:
        clean["nonfinite"] = lost
    return json.dumps(clean, ensure_ascii=False, allow_nan=False)


def _without_nonfinite(value: Any, path: str, lost: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(path)
        return None
    if isinstance(value, Mapping):
        inner = f"{path}." if path else ""
        return {key: _without_nonfinite(item, f"{inner}{key}", lost) for key, item in value.items()}
    return value


def observations(rows: Iterable[Row]) -> Iterator[Observation]:
    """Turn rows of updates.jsonl into what the collapse rule looks at."""
    for row in rows:
        text = row["text"]
        if text is not None:
            seen = (text["loop_share"], text["seq_rep_4"], row["train_loss"])
            yield Observation(row["update"], *(math.nan if v is None else v for v in seen))


def summarize(rows: Sequence[Row], rule: CollapseRule, status: str) -> Row:
    """Derive summary.json from the rows of a run.

    `collapsed` and `collapse_update` are the rule's verdict on the whole series;
    `reason` says why the run ended.
    """
    verdict = judge(observations(rows), rule)
    evaluated = [row for row in rows if row["validation"]]
    after = [row for row in evaluated if row["update"] >= (verdict.collapse_update or 0)]
    diverged = any(row.get("applied") is False for row in rows)
    if verdict.collapsed:
        reason = f"collapse: {', '.join(verdict.reasons)} for {rule.patience} updates in a row"
    elif diverged:
        reason = "diverged: a loss or gradient was not finite"
    else:
        reason = "censored: reached run.max_updates" if status == "finished" else status
    return {
        "status": status,
        "collapsed": verdict.collapsed,
        "collapse_update": verdict.collapse_update,
        "criteria": list(verdict.reasons),
        "reason": reason,
        "updates": rows[-1]["update"] if rows else 0,
        "validation": {
            "start": _losses(evaluated[:1]),
            "collapse": _losses(after[:1]) if verdict.collapsed else None,
            "end": _losses(evaluated[-1:]),
        },
        "train_loss": {
            "first": next((r["train_loss"] for r in rows if r["update"] == 1), None),
            "last": rows[-1]["train_loss"] if rows else None,
        },
    }


def _losses(rows: Sequence[Row]) -> Row | None:
    """Update and validation losses (nats per token) of the one row given."""
    if not rows:
        return None
    losses = {name: loss["loss"] for name, loss in rows[0]["validation"].items()}
    return {"update": rows[0]["update"], **losses}
