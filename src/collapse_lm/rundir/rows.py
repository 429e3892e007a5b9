"""The lines of updates.jsonl and samples.jsonl, as Python values and as JSON.

Format 2 is open: a line of updates.jsonl is a flat object of dotted names. Format 1, of
earlier releases, is read into the same values; one file may hold lines of both, as a run
of format 1 that is extended goes on in format 2. JSON has no NaN or infinity: such a
value is written as null and told under `nonfinite`, so that it is neither lost nor taken
for a zero. See docs/run-format.md.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_lm.experiment.batch import Record, Text, are_ends
from collapse_lm.measures.names import Number, Row, label
from collapse_lm.rundir.shape import (
    RecordError,
    RowShape,
    SampleShape,
    SampleShape1,
    UpdateShape1,
    check,
    naming,
    read_object,
)

FORMAT_VERSION = 2
_NONFINITE = "nonfinite"
# Digits of a number per token, in nats: pages only shade with them.
_DIGITS = {"log_probs": 3, "entropies": 2, "base_log_probs": 3}
_MORE_DIGITS = 4  # significant ones, of numbers of further measures
_RENAMED = {  # numbers of format 1 that are a number of today
    "train_loss": ("train.loss", "probe.loss"),
    "grad_norm": ("train.grad_norm",),
    "lr": ("train.lr",),
    "tokens": ("train.tokens",),
    "entropy": ("draw.entropy", "probe.entropy"),
    "forward_passes": ("draw.forward_passes",),
}


@dataclass(frozen=True)
class SampleRow:
    """The texts of an update.

    Attributes:
        update: counted from 1.
        texts: what was trained on.
        probe: what was judged, where that was drawn apart from the texts.
    """

    update: int
    texts: tuple[Text, ...]
    probe: tuple[Text, ...] = ()

    @property
    def samples(self) -> tuple[Text, ...]:
        """What the model drew: the probe, or those of the texts that are its own."""
        return self.probe or tuple(text for text in self.texts if text.origin == "own")


def told_origin(samples: Sequence[SampleRow]) -> str:
    """Where the texts that a run trained on come from, in words, as its rows tell.

    `replay:7` and the like are told by their kind once there are several.
    """
    by_kind: dict[str, list[str]] = {}
    for origin in dict.fromkeys(text.origin for row in samples for text in row.texts):
        by_kind.setdefault(origin.partition(":")[0], []).append(origin)
    named = [of[0] if len(of) == 1 else kind for kind, of in by_kind.items()]
    return " and ".join("own samples" if name == "own" else name for name in named)


# --- writing -----------------------------------------------------------------------------------


def row_line(row: Row) -> str:
    """Serialise the numbers of an update on one line."""
    line: dict[str, Any] = {"update": row.update, **row.values}
    lost = {name: str(v) for name, v in row.values.items() if not math.isfinite(v)}
    line |= dict.fromkeys(lost)
    if lost:
        line[_NONFINITE] = lost
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def sample_line(record: Record) -> str:
    """Serialise the texts of an update on one line."""
    line: dict[str, Any] = {"update": record.update, "texts": list(map(_plain, record.batch.texts))}
    if record.has_own_probe:
        line["probe"] = list(map(_plain, record.probe.texts))
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _plain(text: Text) -> dict[str, Any]:
    found = {
        "origin": text.origin,
        "prompt": list(text.prompt),
        "ids": list(text.ids),
        "text": text.text,
    }
    for name, digits in _DIGITS.items():
        if values := getattr(text, name):
            found[name] = [_rounded(value, digits) for value in values]
    if text.ends:
        found["ends"] = list(text.ends)
    if text.prompt_text:
        found["prompt_text"] = text.prompt_text
    more = {name: list(map(_shortened, values)) for name, values in text.per_token.items()}
    return found | ({"per_token": more} if more else {})


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _shortened(value: float) -> float | None:
    return float(f"{value:.{_MORE_DIGITS}g}") if math.isfinite(value) else None


# --- reading -----------------------------------------------------------------------------------


def parse_row(name: str, line: str) -> Row:
    """Read a line of updates.jsonl in either format.

    Raises:
        RecordError: saying what is wrong, and where in the file that `name` names.
    """
    found = read_object(name, line)
    if "validation" in found:
        check(name, found, UpdateShape1)
        return Row(int(found["update"]), _values_1(found))
    check(name, found, RowShape)
    lost = found.pop(_NONFINITE, {})
    update = int(found.pop("update"))
    return Row(update, {key: _number(value, lost.get(key)) for key, value in found.items()})


def parse_sample(name: str, line: str) -> SampleRow:
    """Read a line of samples.jsonl in either format.

    Raises:
        RecordError: as `parse_row`.
    """
    found = read_object(name, line)
    if "ids" in found:
        check(name, found, SampleShape1)
        prompt = tuple(found.get("prompt", ()))
        with naming(name):
            pairs = zip(found["ids"], found["text"], strict=True)
            texts = tuple(Text(prompt, tuple(ids), "own", text) for ids, text in pairs)
        return SampleRow(int(found["update"]), texts)
    check(name, found, SampleShape)
    texts, probe = (tuple(map(_text, found.get(key, ()))) for key in ("texts", "probe"))
    return SampleRow(int(found["update"]), texts, probe)


def _text(found: Mapping[str, Any]) -> Text:
    return Text(
        prompt=tuple(found["prompt"]),
        ids=tuple(found["ids"]),
        origin=found["origin"],
        text=found["text"],
        prompt_text=found.get("prompt_text", ""),
        ends=_ends(found),
        per_token={name: _numbers(v) for name, v in found.get("per_token", {}).items()},
        **{name: _numbers(found.get(name, ())) for name in _DIGITS},
    )


def _ends(found: Mapping[str, Any]) -> tuple[int, ...]:
    """The ends of the tokens; none where they are not those of the text as it was read.

    JSON joins halves of a character that a text may hold one beside the other.
    """
    ends = tuple(found.get("ends", ()))
    return ends if are_ends(ends, found["ids"], found["text"]) else ()


def _numbers(values: Sequence[Number | None]) -> tuple[Number, ...]:
    return tuple(_number(value, None) for value in values)


def _values_1(found: Mapping[str, Any]) -> dict[str, Number]:
    """The numbers of a line of format 1 by the names of today."""
    values: dict[str, Number] = {}
    if found["update"]:
        for old, names in _RENAMED.items():
            if old in found:
                values |= dict.fromkeys(names, _number(found[old], None))
        text = found["text"] or {}
        for key, value in text.items():
            if key != "loop_period" or value is not None:  # null: no loop
                values[f"text.{key}"] = _number(value, None)
    for corpus, losses in found["validation"].items():
        named = {label(f"validation.{key}", corpus): v for key, v in losses.items()}
        values |= {name: _number(value, None) for name, value in named.items()}
    values |= {f"seconds.{phase}": value for phase, value in found.get("seconds", {}).items()}
    if found.get("applied") is False:
        values["train.applied"] = 0
    return values


def _number(value: Number | None, lost: str | None) -> Number:
    """A number of a line; null is one that JSON could not hold."""
    if value is None:
        return float(lost) if lost in ("inf", "-inf") else math.nan
    return value


def has_gaps(manifest: Mapping[str, Any]) -> bool:
    """True for a record of something that this package did not train: not every update is in it.

    `made_by` names what made it (the monitor); a run has no such key.
    """
    return bool(manifest.get("made_by"))


def require_series(
    name: str, rows: Sequence[Row | SampleRow], first: int, *, gaps: bool = False
) -> None:
    """Accept rows of the updates `first`, `first` + 1, and so on.

    Args:
        name: of the file.
        rows: in its order.
        first: the update of the first of them.
        gaps: accept any that rise.

    Raises:
        RecordError: naming the first line that is not of its update.
    """
    if gaps:
        for number, (before, row) in enumerate(itertools.pairwise(rows), 2):
            require_later(f"{name}, line {number}", row.update, before.update)
        return
    for number, row in enumerate(rows):
        if row.update != first + number:
            raise RecordError(
                f"{name}, line {number + 1}: update {row.update} instead of {first + number}"
            )


def require_later(where: str, update: int, before: int) -> None:
    """Accept an update after the one before it.

    Raises:
        RecordError: for any other.
    """
    if update <= before:
        raise RecordError(f"{where}: update {update} after {before}")
