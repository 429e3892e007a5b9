"""Measure what each measure costs and what human text has; render the tables of docs/metrics.md.

    .venv/bin/python docs/scripts/render_metrics.py --measure   # SmolLM2-135M, minutes
    .venv/bin/python docs/scripts/render_metrics.py             # the tables, from the last record

The record is docs/metrics.json. Costs are medians over the updates of one run of the
quickstart that has every measure. Definitions come from the names of rows in the code.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from collapse_lm.measures.model_names import LABELS
from collapse_lm.measures.names import NAMES, label

ROOT = Path(__file__).parents[2]
PAGE, RECORD = ROOT / "docs" / "metrics.md", ROOT / "docs" / "metrics.json"
BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"

UPDATES = 8
KINDS = ("overlap", "base_log_probability", "prefixes", "types", "drift")
CORPUS = "sotu"  # human text
DEFAULT = ("text", "probe", "pool", "dose", "top1")  # groups of every run, beside the validation
LOW, HIGH, AWAY = "falls", "rises", "leaves the base model's value, either way"


@dataclass(frozen=True)
class Group:
    """Measures that are had together.

    Attributes:
        key: of their cost in the record.
        title: of their table.
        about: where they come from and what asks for them.
        worse: by name, what each does as a model gets worse.
        sources: by name, who defined it.
    """

    key: str
    title: str
    about: str
    worse: Mapping[str, str]
    sources: Mapping[str, str]


def _each(names: Sequence[str], word: str) -> dict[str, str]:
    return dict.fromkeys(names, word)


_LI = "Li et al. 2016, arXiv 1510.03055"
_KL = "Kullback and Leibler 1951"
_SHANNON = "Shannon 1948"
_TEXT_DISTINCT = [f"text.distinct_{n}" for n in (1, 2, 3, 4)]
_POOL_DISTINCT = [f"pool.distinct_{n}" for n in (1, 2, 3, 4)]
_VALIDATION = [
    *("validation.loss", "validation.perplexity", "validation.bits_per_byte"),
    *("validation.word_perplexity", "validation.word_perplexity_eos", "validation.change"),
]
_BASE_SAMPLES = ["entropy", "length", "degenerate_share", "overlap"]
_BASE_SAMPLES += [f"distinct_{n}" for n in (1, 2, 3, 4)]

GROUPS = (
    Group(
        "text",
        "Within a sample",
        "In every run, of each probe; of several samples the mean. Needs the samples alone.",
        {
            **_each(_TEXT_DISTINCT, LOW),
            "text.seq_rep_4": HIGH,
            "text.loop_share": HIGH,
            "text.loop_period": "appears",
            "text.compression": LOW,
        },
        {
            **_each(_TEXT_DISTINCT, _LI),
            "text.seq_rep_4": "Welleck et al. 2020, arXiv 1908.04319",
            "text.compression": "Shaib et al. 2024, arXiv 2403.00553, inverted",
        },
    ),
    Group(
        "pool",
        "Over the last five probes",
        "In every run. Two samples can each be varied and yet be the same sample. Rebuilt from the "
        "recorded texts when a run is resumed.",
        {"pool.overlap": HIGH, **_each(_POOL_DISTINCT, LOW)},
        _each(_POOL_DISTINCT, f"{_LI}, over a window of probes"),
    ),
    Group(
        "probe",
        "What the model that drew the probe thinks of it",
        "In every run. The entropies are those of the passes that draw, so they cost no pass.",
        {
            "probe.loss": LOW,
            "probe.entropy": AWAY,
            "probe.sampling_entropy": AWAY,
            "probe.top1": AWAY,
            "probe.degenerate_share": HIGH,
            "probe.length": "falls, under stop_at_eos",
        },
        {
            "probe.entropy": _SHANNON,
            "probe.sampling_entropy": _SHANNON,
            "probe.top1": "ours",
            "probe.degenerate_share": "[the collapse rule](collapse-rule.md)",
        },
    ),
    Group(
        "dose",
        "How much training there was",
        "In every run. A clock, not a judgement: curves over it compare between learning rates.",
        _each(["dose.rate", "dose.square"], "neither"),
        {"dose.square": "Mandt et al. 2017, arXiv 1704.04289, section 2"},
    ),
    Group(
        "validation",
        "On real text",
        "In every run, every `evaluation.every` updates, for each corpus of `evaluation.corpora`.",
        {
            **_each(_VALIDATION, HIGH),
            "validation.tokens": "neither",
            "validation.change_se": "neither",
        },
        {
            "validation.bits_per_byte": "Gao et al. 2020, arXiv 2101.00027",
            "validation.change_se": "Cochran 1977, sections 6.4 and 9A",
            "validation.word_perplexity_eos": "Mikolov et al. 2010, Merity et al. 2016",
        },
    ),
    Group(
        "overlap",
        "`overlap`: with the last probe, or the last K",
        "`measures: [{kind: overlap, n: 4, last: 1}]`. For another n or another number of probes "
        "than `pool.overlap` has.",
        {"overlap": HIGH},
        {},
    ),
    Group(
        "prefixes",
        "`prefixes`: whole distributions where human text goes on",
        "`measures: [{kind: prefixes, corpus: sotu, count: 64, tokens: 32}]`. The same prefixes in "
        "every update; one pass over them, no sample, no second model. It keeps the base model's "
        "probabilities. With `every: 5` it costs a fifth.",
        {
            "prefix.kl": HIGH,
            "prefix.kl_reverse": HIGH,
            "prefix.entropy": AWAY,
            "prefix.effective_vocabulary": AWAY,
            "prefix.top1": AWAY,
        },
        {
            "prefix.kl": _KL,
            "prefix.kl_reverse": _KL,
            "prefix.entropy": _SHANNON,
            "prefix.effective_vocabulary": "Hill 1973, of order 1",
        },
    ),
    Group(
        "base_log_probability",
        "`base_log_probability`: own samples under the base model",
        "`measures: [base_log_probability]`. One pass of the base model over the probe. The "
        "base model stays in memory, in the number format of evaluation.",
        {"base.loss": AWAY, "base.log_ratio": HIGH, "base.kl": HIGH},
        {"base.log_ratio": _KL, "base.kl": _KL},
    ),
    Group(
        "types",
        "`types`: the words that are left",
        "`measures: [{kind: types, corpus: sotu-train, frequent: 1000}]`. Of five probes together; "
        "a type is a token id.",
        {"types.rare_share": LOW, "types.zipf_slope": AWAY},
        {
            "types.rare_share": "the tails of Shumailov et al. 2024, Nature 631",
            "types.zipf_slope": "Holtzman et al. 2020, arXiv 1904.09751 (its negative)",
        },
    ),
    Group(
        "drift",
        "`drift`: how far the weights have gone",
        "`measures: [drift]`. Of the weights that sample, under `training.lora` the merged ones. "
        "The step is that of all optimizer steps of one update. It keeps the "
        "base model's weights, and those before the step while an update is trained on.",
        {"drift.total": HIGH, "drift": HIGH, "drift.step": "neither"},
        {
            "drift.total": "the L2-SP distance of Li et al. 2018, arXiv 1802.01483, made relative",
            "drift.step": "the inverse trust ratio of You et al. 2017, arXiv 1708.03888, in all",
        },
    ),
    Group(
        "base_samples",
        "`collapse.base_samples`: levels of the base model",
        "In row 0 only, where the key asks for them: what [the endings](collapse-rule.md) are held "
        "against. Drawing them costs as much as that many samples, once.",
        {
            "base_samples.count": "neither",
            "base_samples.clipped": "neither",
            **{f"base_samples.{name}": "neither" for name in _BASE_SAMPLES},
        },
        {},
    ),
)


def main() -> None:
    """Measure where that is asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="make the record anew")
    if parser.parse_args().measure:
        RECORD.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no {BEGIN} and {END}")
    PAGE.write_text(before + tables(json.loads(RECORD.read_text("utf-8"))) + after, "utf-8")


# --- tables ------------------------------------------------------------------------------------


def tables(record: Mapping[str, Any]) -> str:
    """All between the markers of the page, these included."""
    lines = [BEGIN, "", *_heading(record)]
    for group in GROUPS:
        lines += ["", f"### {group.title}", "", group.about, *_cost(group, record), ""]
        lines += ["| name | meaning | as a model gets worse it | human text | from |"]
        lines += ["| --- | --- | --- | ---: | --- |"]
        lines += [_line(group, name, record["human"]) for name in group.worse]
    return "\n".join([*lines, "", END])


def _heading(record: Mapping[str, Any]) -> Iterator[str]:
    machine, human = record["machine"], record["human_windows"]
    yield (
        f"Measured on {record['made']} over {record['updates']} updates of the quickstart "
        f"({machine['model']}, samples of {record['length']} tokens): {machine['processor']}, "
        f"{_threads(machine['threads'])}, torch {machine['torch']}, evaluation in "
        f"{machine['precision']}; one minute of load {machine['load']:.1f} on {machine['cores']} "
        "cores. An update "
        f"without its measures (sample, step, judge) took {record['update_seconds']:.2f} s, the "
        "median; costs are medians too. Human text is "
        f"{CORPUS}: {human['text']} windows of {record['length']} tokens for what one sample has, "
        f"{human['pool']} stretches of six for what probes in a row have."
    )
    share = sum(record["seconds"][key] for key in DEFAULT) / record["update_seconds"]
    yield ""
    yield (
        f"What every run measures beside its validation losses costs {100 * share:.2f} % of that "
        "update in all, and holds no copy of the model."
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _cost(group: Group, record: Mapping[str, Any]) -> list[str]:
    seconds = record["seconds"].get(group.key)
    if seconds is None:
        return []
    told = f"Cost: {_seconds(seconds)} of an update that is measured, {_share(seconds, record)}"
    held = record["megabytes"].get(group.key)
    return [f"{told}; memory {held:,.0f} MB." if held else f"{told}."]


def _share(seconds: float, record: Mapping[str, Any]) -> str:
    share = seconds / record["update_seconds"]
    return "below 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds < 0.0995 else f"{seconds:.2g} s"


def _line(group: Group, name: str, human: Mapping[str, float]) -> str:
    value, meaning = human.get(name), NAMES[name].meaning
    of = next((of for end, of in LABELS.items() if meaning.endswith(end)), "")
    own = "standard" if group.key in ("probe", "validation") else "ours"
    source = group.sources.get(name, own)
    told = "" if value is None else f"{value:.3f}"
    cells = (f"`{label(name, of) if of else name}`", meaning, group.worse[name], told, source)
    return f"| {' | '.join(cells)} |"


# --- measuring ---------------------------------------------------------------------------------


def measured() -> dict[str, Any]:
    """Costs and human values, as the record holds them."""
    import collapse_lm
    from collapse_lm.config import load_config
    from collapse_lm.experiment.build import prepare
    from collapse_lm.machine.processor import processor
    from collapse_lm.rundir import RunReader

    words = [
        f"measures=[{', '.join(KINDS)}]",
        *("collapse.stop=false", f"run.max_updates={UPDATES}", "observers=[]"),
    ]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, Clocks() as spent:
        run = collapse_lm.run("quickstart", Path(folder) / "run", overrides=words).directory
        reader = RunReader(run)
        rows, manifest = reader.updates()[1:], reader.manifest()
    parts = prepare(load_config("quickstart"))
    length = parts.context.config.sampling.max_new_tokens
    human, windows = human_measures(parts.context, length)
    phases = ("sample", "probe", "train", "judge")
    totals = [sum(row.get(f"seconds.{phase}") for phase in phases) for row in rows]
    seconds = {key: statistics.median(found) for key, found in spent.items()}
    vocabulary = parts.model.network.get_output_embeddings().weight.shape[0]
    torch.set_num_threads(manifest["threads"])
    seconds["top1"] = length * seconds_of_top1(vocabulary)
    weights = sum(value.numel() for value in parts.model.network.parameters())
    return {
        "made": date.today().isoformat(),
        "updates": UPDATES,
        "length": length,
        "machine": {
            "model": manifest["model"]["reference"],
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": manifest["threads"],
            "torch": manifest["versions"]["torch"],
            "precision": manifest["precision"],
            "load": round(load, 1),
        },
        "update_seconds": round(statistics.median(totals), 4),
        "seconds": {key: float(f"{value:.3g}") for key, value in seconds.items()},
        "megabytes": {
            "prefixes": round(64 * vocabulary * 4 / 1e6, 1),
            "drift": round(2 * weights * 4 / 1e6, 1),
        },
        "human": human,
        "human_windows": windows,
    }


class Clocks:
    """Time, per update, all that measures: by the key of a group, within a with statement."""

    def __enter__(self) -> dict[str, list[float]]:
        """Put a clock around each."""
        from collapse_lm.experiment import facts
        from collapse_lm.measures import seen
        from collapse_lm.measures.against_base import BaseLogProbability
        from collapse_lm.measures.dose import Dose
        from collapse_lm.measures.drift import Drift
        from collapse_lm.measures.overlap import OverlapWithLast
        from collapse_lm.measures.pool import Pool
        from collapse_lm.measures.prefixes import Prefixes
        from collapse_lm.measures.types import Types
        from collapse_lm.measures.validation import ValidationLosses

        self._spent: dict[str, list[float]] = defaultdict(list)
        self._former: list[tuple[Any, str, Any]] = []
        whole = {
            "base_log_probability": BaseLogProbability,
            "overlap": OverlapWithLast,
            "prefixes": Prefixes,
            "types": Types,
            "validation": ValidationLosses,
        }
        for key, kind in whole.items():
            self._around(key, kind, "__call__", extends=hasattr(kind, "token_values"))
            if hasattr(kind, "token_values"):
                self._around(key, kind, "token_values")
        self._around("drift", Drift, "before_step")
        self._around("drift", Drift, "__call__", extends=True)
        self._around("pool", Pool, "see")
        self._around("dose", Dose, "add")
        self._around("probe", seen, "probe_values")
        self._around("text", facts, "text_metrics")
        return self._spent

    def __exit__(self, *error: object) -> None:
        """Take the clocks away."""
        for owner, name, former in self._former:
            setattr(owner, name, former)

    def _around(self, key: str, owner: Any, name: str, *, extends: bool = False) -> None:
        """A clock around a function; its time adds to the last one of its key, or is a new one."""
        former: Callable[..., Any] = getattr(owner, name)
        spent = self._spent[key]

        def timed(*arguments: Any) -> Any:
            begin = time.perf_counter()
            result = former(*arguments)
            seconds = time.perf_counter() - begin
            if extends and spent:
                spent[-1] += seconds
            else:
                spent.append(seconds)
            return result

        self._former.append((owner, name, former))
        setattr(owner, name, timed)


def seconds_of_top1(vocabulary: int) -> float:
    """What the largest of the log-probabilities costs for one token."""
    values = torch.randn(vocabulary, generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        values.amax()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def human_measures(context: Any, length: int) -> tuple[dict[str, float], dict[str, int]]:
    """What human text has of the measures of texts, and how many windows that is of."""
    from collapse_lm.experiment.build import decode
    from collapse_lm.measures.human import MOST_WINDOWS, human_values
    from collapse_lm.measures.overlap import overlap
    from collapse_lm.measures.types import most_frequent, type_values

    ids = context.evaluation_set(CORPUS).ids[1:].tolist()
    frequent = most_frequent(context.evaluation_set("sotu-train").ids[1:].tolist(), 1000)
    values, count = human_values(ids, length, lambda part: decode(context.model, part))
    stretches = min(MOST_WINDOWS, len(ids) // (6 * length))
    told = defaultdict(list)
    for place in range(stretches):
        start = place * (len(ids) // stretches)
        windows = [ids[start + n * length : start + (n + 1) * length] for n in range(6)]
        told["overlap"].append(overlap([windows[5]], [windows[4]], 4))
        five = [token for window in windows[1:] for token in window]
        for name, value in type_values(five, frequent).items():
            told[name].append(value)
    values |= {name: round(statistics.fmean(found), 6) for name, found in told.items()}
    return values, {"text": count, "pool": stretches}


if __name__ == "__main__":
    main()
