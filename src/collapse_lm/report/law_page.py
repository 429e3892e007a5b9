"""The law of dose as a page: with which power of the rate, or of the batch, times go."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from collapse_lm._util.files import write_atomically, writing
from collapse_lm._util.json_text import to_json
from collapse_lm.analysis.law import RATE, Law, LawLevel, amount_words, laws_of
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.sizes import ModelLine, SizeEffect, effects_of_size, model_lines
from collapse_lm.report.claims_page import cell, exponent_words

JSON, PAGE = "law.json", "law.md"
_ABOUT = """\
An exponent is that of time ~ rate^exponent (or batch^exponent) within one arm, all else equal: \
-1 in the learning rate means that what counts is the dose, the sum of the learning rates; -2 \
that it is the sum of their squares, the clock of a random walk. It is Gehan's estimate for \
censored times, with the 95 % interval of the jackknife over seeds (Student's t), no narrower \
than the distance between two looks allows; there is none with fewer than three seeds. The loop \
is the collapse update of the rule. The rise of the validation loss by half a nat is read off the \
line between two evaluations. Entropy is halved where the median of five probes is half of the \
first probe's. Dose is the median sum of the learning rates at the event."""
_LEVELS = (
    "| {key} | runs | seen in | median update (95 %) | dose at the event |\n"
    "| --- | --- | --- | --- | --- |"
)
_SIZES = """\
The unit is the model. Each has a line of its own through its runs (log time to the loop on log \
rate), which gives its time at any rate. The ratio is the time of the smallest model over that of \
the largest, from a regression of log time on log parameters with a level for each pretraining \
seed; its interval is Student's over models, the p-value that of sizes dealt anew within each \
pretraining seed. A relative step is the norm of an update over that of the weights. Size and \
pretraining loss go together on a ladder: which of the two it is, this does not say."""
_SIZE_HEAD = (
    "| rate goes as width to the power | time, smallest over largest (95 %) | p | models |\n"
    "| --- | --- | --- | --- |"
)
_MODEL_HEAD = (
    "| model | parameters | validation loss before | runs | seen in | exponent in the rate |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def write_laws(keys: Sequence[str], runs: Sequence[Measured], out: Path) -> None:
    """Write law.json and law.md, or remove them where no arm has a law.

    Args:
        keys: dotted, that the runs were swept over.
        runs: those with a time to collapse.
        out: the folder of the sweep.

    Raises:
        MachineError: where the disk does not take a file.
    """
    laws = laws_of(keys, runs)
    models, effects = _sizes(keys, runs)
    if not laws:
        with writing(out):
            for name in (JSON, PAGE):
                (out / name).unlink(missing_ok=True)
        return
    sizes = [json.loads(to_json(asdict(effect))) for effect in effects]
    found = {"laws": [law.row() for law in laws], "sizes": sizes}
    write_atomically(out / JSON, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    write_atomically(out / PAGE, law_markdown(laws, models, effects))


def law_markdown(
    laws: Sequence[Law], models: Sequence[ModelLine] = (), effects: Sequence[SizeEffect] = ()
) -> str:
    """Return law.md: a table of exponents, then the times behind each."""
    head = "| arm | event | in | exponent (95 %) | seeds |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {cell(law.arm)} | {law.event} | {law.key} | {exponent_words(law.exponent)} "
        f"| {law.seeds} |"
        for law in laws
    ]
    parts = ["# The law of dose", _ABOUT, "\n".join([head, *rows])]
    parts += [_section(law) for law in laws]
    if effects:
        parts += ["## Size", *_size_parts(models, effects)]
    return "\n\n".join(parts) + "\n"


def size_tables(keys: Sequence[str], runs: Sequence[Measured]) -> list[str]:
    """What is said of size, as parts of a page; nothing for other sweeps than `sizes`.

    Args:
        keys: dotted, that the runs were swept over.
        runs: those with a time to collapse.
    """
    models, effects = _sizes(keys, runs)
    return _size_parts(models, effects) if effects else []


def _size_parts(models: Sequence[ModelLine], effects: Sequence[SizeEffect]) -> list[str]:
    return [_SIZES, _size_table(effects), _model_table(models)]


def _section(law: Law) -> str:
    lines = [f"## {cell(law.arm)}: {law.event}", "", _LEVELS.format(key=law.key)]
    return "\n".join([*lines, *(_row(law.key, level) for level in law.levels)])


def _row(key: str, level: LawLevel) -> str:
    dose = "not reached" if level.dose is None else f"{level.dose:.3g}"
    cells = (
        amount_words(key, level.amount),
        str(level.runs),
        str(level.seen),
        _median(level),
        dose,
    )
    return f"| {' | '.join(cells)} |"


def _median(level: LawLevel) -> str:
    if level.median is None:
        return "not reached"
    low, high = (
        "no limit" if limit is None else f"{limit:.4g}"
        for limit in (level.median_lower, level.median_upper)
    )
    return f"{level.median:.4g} ({low} to {high})"


def _sizes(
    keys: Sequence[str], runs: Sequence[Measured]
) -> tuple[list[ModelLine], list[SizeEffect]]:
    """Models and effects of a sweep over models and rates, and nothing else."""
    if set(keys) != {"model", RATE}:
        return [], []
    effects = effects_of_size(runs)
    return (model_lines(runs), effects) if effects else ([], [])


def _size_table(effects: Sequence[SizeEffect]) -> str:
    rows = [
        f"| {_rule(effect)} | {_ratio(effect)} | {effect.test.p_value:.3g} | {effect.models} |"
        for effect in effects
    ]
    return "\n".join([_SIZE_HEAD, *rows])


def _ratio(effect: SizeEffect) -> str:
    if math.isnan(effect.ratio):
        return "not known (too few models of different sizes with a line)"
    return f"{effect.ratio:.3g} ({effect.lower:.3g} to {effect.upper:.3g})"


def _rule(effect: SizeEffect) -> str:
    return "relative step held equal" if math.isnan(effect.power) else f"{0 - effect.power:g}"


def _model_table(models: Sequence[ModelLine]) -> str:
    rows = [
        f"| {cell(m.model)} | {m.parameters:,} | {m.start:.3f} | {m.runs} | {m.seen} "
        f"| {m.line.slope:.3g} |"
        for m in models
    ]
    return "\n".join([_MODEL_HEAD, *rows])
