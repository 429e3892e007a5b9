"""How often is a model that does not learn said to be in a state? Measure it, by length.

    .venv/bin/python docs/scripts/calibrate_endings.py draw smollm2-135m FOLDER/64x3 ...
    .venv/bin/python docs/scripts/calibrate_endings.py judge
    .venv/bin/python docs/scripts/calibrate_endings.py render

`draw` draws independent samples of each base model, in parts that are kept under --cache: it can
be stopped at any time, goes on where it was, and with --minutes ends by itself. At a learning
rate of 0 the samples of a run are such draws. They are as long as the longest length; a shorter
sample is their beginning. `judge` takes them, and windows of human text, for the probes of runs,
and counts how often each state is entered; it writes docs/results/calibration. `render` writes
the tables of docs/collapse-rule.md from there, and needs nothing else.

Ladder models need as many positions as the longest length: `collapse-lm pretrain --sizes
64x3,256x5 --set context=1024 --set batch=2 --out FOLDER`.
"""

import argparse
import csv
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from collapse_lm.config import CollapseRule
from collapse_lm.measures.endings import STATES, Endings
from collapse_lm.measures.names import Number, Row
from collapse_lm.measures.pool import PROBES, Pool
from collapse_lm.measures.rule import observe, reasons
from collapse_lm.measures.text import find_loop, seq_rep

from marked import put_between

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "collapse-rule.md"
RESULTS = ROOT / "docs" / "results" / "calibration"
CACHE = ROOT / "runs" / "calibration"
BEGIN, END = "<!-- endings: begin -->", "<!-- endings: end -->"

LENGTHS = (50, 100, 200, 400, 1024)
ALONG = (200, 300, 400, 512, 700, 1024)  # where 4-grams of the base model come again
UPDATES = 1000  # draws that stand for the probes of a run
BASE_SAMPLES = 64  # further draws, for the levels of the base model
PART = 16  # samples drawn together
STARTS = 50  # places of the draws at which a run may begin
TEMPERATURE, TOP_K = 0.8, 500  # Table 2 of the paper
AIM = 1.0  # false alarms per 1,000 updates, at most
RULE = CollapseRule()
MODES = {  # the state mode by one of its criteria alone
    "mode (overlap)": {"low_entropy": 1e-9, "distinct": 1e-9},
    "mode (distinct)": {"low_entropy": 1e-9, "overlap": 2.0},
    "mode (entropy)": {"overlap": 2.0, "distinct": 1e-9},
}
AFTER_DRIFT = "noise (after drift)"  # as if the validation loss had risen, and no sample changed
OF_TEXT = ("loop", "mode", "mode (overlap)", "mode (distinct)")  # states that a text alone shows
TEXTS = ("sotu-train", "wikitext2")  # human text; the second where COLLAPSE_LM_DATA is set
COLUMNS = (
    *("text", "length", "reference", "state", "updates"),
    *("showing", "entries", "low", "high", "starts", "mean"),
)
OF_LENGTH = ("text", "length", "updates", "degenerate", "distinct_4", "entries", "low", "high")
FIRST, SAMPLES = "first probes", "base samples"


@dataclass(frozen=True)
class Draws:
    """Samples of a model, or windows of a text.

    Attributes:
        name: of the model or text.
        ids: token ids of each, as long as the longest length or longer.
        losses: mean -log p (nats) of the model up to each token; None for human text.
        entropies: mean predictive entropy likewise.
        ends: tokens up to the first EOS token, or all.
    """

    name: str
    ids: Sequence[tuple[int, ...]]
    losses: Sequence[np.ndarray] | None = None
    entropies: Sequence[np.ndarray] | None = None
    ends: Sequence[int] = ()


def main() -> None:
    """Do what the command line says."""
    options = parse_options()
    if options.what == "draw":
        deadline = time.monotonic() + 60 * options.minutes
        for model in options.models:
            draw(model, options.cache, options.draws, deadline)
    if options.what == "judge":
        judge(options.cache, options.out)
    if options.what in ("judge", "render"):
        put_between(options.page, BEGIN, END, f"\n\n{render(options.out)}\n\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("draw", "judge", "render"))
    parser.add_argument("models", nargs="*", help="draw: references of base models")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the draws")
    parser.add_argument("--draws", type=int, default=UPDATES + BASE_SAMPLES, help="of each model")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that holds the tables")
    return parser.parse_args()


# --- drawing ---------------------------------------------------------------------------------


def draw(reference: str, cache: Path, count: int, deadline: float) -> None:
    """Draw the parts of a model that are not in the cache, until the deadline."""
    from collapse_lm.inference import inference_network
    from collapse_lm.machine.compute import choose_device, choose_precision
    from collapse_lm.models.load import load_model

    model = load_model(reference)
    compute = choose_precision("auto", choose_device())
    model.network.to(compute.device)
    network = inference_network(model.network, compute.precision)
    folder = cache / model_name(reference)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"stop": model.eos_token, "parameters": model.network.num_parameters()}
    (folder / "about.json").write_text(json.dumps(facts), encoding="utf-8")
    parts = math.ceil(count / PART)
    for part in range(parts):
        path = folder / f"{part:04}.npz"
        if not path.exists() and time.monotonic() < deadline:
            begin = time.monotonic()
            draw_part(network, model.start_token, part, path)
            seconds = time.monotonic() - begin
            print(f"{folder.name}: part {part + 1} of {parts}, {seconds:.0f} s", file=sys.stderr)


def draw_part(network: Any, start: int, part: int, path: Path) -> None:
    """Draw the samples of one part, by its own random numbers, and keep them."""
    from collapse_lm import rng
    from collapse_lm.sampling import Filters, sample

    uniform_BT = rng.uniforms(rng.stream(0, "sample", part), PART, max(LENGTHS))
    drawn = sample(network, [start], uniform_BT, Filters(TEMPERATURE, TOP_K))
    unfinished = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        unfinished,
        ids=np.array(drawn.samples, np.int32),
        log_probs=np.array(drawn.log_probs, np.float32),
        entropies=np.array(drawn.entropies, np.float32),
    )
    unfinished.replace(path)


def model_name(reference: str) -> str:
    """What tables call a model: the last part of its reference."""
    return Path(reference).name


def read_draws(folder: Path) -> Draws:
    """The draws of a model, part after part."""
    parts = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz"))]
    ids, log_probs, entropies = (
        np.concatenate([part[name] for part in parts]) for name in ("ids", "log_probs", "entropies")
    )
    stop = json.loads((folder / "about.json").read_text(encoding="utf-8"))["stop"]
    counts = np.arange(1, ids.shape[1] + 1)
    return Draws(
        folder.name,
        [tuple(row) for row in ids.tolist()],
        list(np.cumsum(-log_probs, axis=1, dtype=np.float64) / counts),
        list(np.cumsum(entropies, axis=1, dtype=np.float64) / counts),
        [1 + row.index(stop) if stop in row else len(row) for row in ids.tolist()],
    )


@lru_cache
def human_ids(name: str) -> tuple[int, ...]:
    """A corpus in the tokens of the packaged model."""
    from collapse_lm.corpora.corpus import load_corpus
    from collapse_lm.models.load import load_model

    tokenizer = load_model("smollm2-135m").tokenizer
    text = load_corpus(name).text
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def human_windows(name: str, length: int) -> Draws:
    """Windows of a corpus, in its order."""
    ids = human_ids(name)
    starts = range(0, len(ids) - length + 1, length)
    return Draws(f"human: {name}", [ids[start : start + length] for start in starts][:UPDATES])


# --- judging ---------------------------------------------------------------------------------


def judge(cache: Path, out: Path) -> None:
    """Count the false alarms of every text at every length, and write the table."""
    models = [read_draws(path) for path in sorted(cache.iterdir()) if path.is_dir()]
    local = bool(os.environ.get("COLLAPSE_LM_DATA"))
    found: list[dict[str, object]] = []
    for length in LENGTHS:
        human = [human_windows(name, length) for name in TEXTS[: 2 if local else 1]]
        for draws in (*models, *human):
            print(f"{draws.name}, {length} tokens", file=sys.stderr)
            found += alarms(draws, length)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "endings.csv", COLUMNS, found)
    write(out / "lengths.csv", OF_LENGTH, [by_length(m, n) for m in models for n in ALONG])
    about: dict[str, object] = {"date": date.today().isoformat(), "rule": RULE.model_dump()}
    about |= {"temperature": TEMPERATURE, "top_k": TOP_K, "base_samples": BASE_SAMPLES}
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def by_length(draws: Draws, length: int) -> dict[str, object]:
    """How much a model repeats itself untrained, and what `mode` made of it at any length.

    Rows that do not tell how long samples are have their 4-grams held against a level of 1.
    """
    values = values_of(draws, length)[:UPDATES]
    unknown = [{n: v for n, v in row.items() if n != "probe.length"} for row in values]
    is_loop = [bool(reasons(seen, RULE)) for row in values if (seen := observe(Row(1, row)))]
    distinct = [float(row["pool.distinct_4"]) for row in values]
    told = summed(judged(unknown, Row(0), RULE), "mode", len(values))
    return {
        **{"text": draws.name, "length": length, "updates": len(values)},
        "degenerate": f"{np.mean(is_loop):.3g}",
        "distinct_4": f"{np.mean(distinct):.3g}",
        **{name: told[name] for name in ("entries", "low", "high")},
    }


def alarms(draws: Draws, length: int) -> Iterator[dict[str, object]]:
    """One line per state and per way to know the base model."""
    values = values_of(draws, length)
    ended = [
        {**row, "probe.length": min(length, end)}
        for row, end in zip(values, draws.ends or [length] * len(values), strict=True)
    ]
    base, base_ended = (base_row(draws, length, rows[UPDATES:]) for rows in (values, ended))
    values, ended = values[:UPDATES], ended[:UPDATES]
    for reference, start, start_ended in (
        (FIRST, Row(0), Row(0)),
        (SAMPLES, base, base_ended),
    ):
        if start is None or start_ended is None:
            continue
        kinds = {state: RULE for state in STATES if draws.losses or state in OF_TEXT}
        kinds |= {n: RULE.model_copy(update=c) for n, c in MODES.items()} | {AFTER_DRIFT: RULE}
        runs = {name: judged(values, start, rule) for name, rule in by_rule(kinds)}
        runs["shrink"] = judged(ended, start_ended, RULE)
        runs[AFTER_DRIFT] = judged(values, start, RULE, rise=10.0)
        for state in kinds:
            if draws.losses or state in OF_TEXT:
                told = runs.get(state, runs[""])
                yield {
                    "text": draws.name,
                    "length": length,
                    "reference": reference,
                    "state": state,
                    **summed(told, state.partition(" ")[0], len(values)),
                }


def by_rule(kinds: Mapping[str, CollapseRule]) -> Iterator[tuple[str, CollapseRule]]:
    """The rules to judge by: the defaults once, under an empty name, and those of a criterion."""
    yield "", RULE
    yield from ((name, rule) for name, rule in kinds.items() if name in MODES)


Told = list[tuple[dict[str, int], dict[str, int]]]  # per start: probes that show, and entries


def judged(
    values: Sequence[Mapping[str, Number]], start: Row, rule: CollapseRule, rise: float = 0.0
) -> Told:
    """What runs over the same probes, begun at different ones, tell of each state.

    The levels that the first probes stand for are other ones at each start.
    """
    step = max(1, len(values) // STARTS)
    return [
        run_of([*values[place:], *values[:place]], start, rule, rise)
        for place in range(0, len(values), step)
    ]


def run_of(
    values: Sequence[Mapping[str, Number]], start: Row, rule: CollapseRule, rise: float
) -> tuple[dict[str, int], dict[str, int]]:
    """Probes that show a state, and entries into it, of one run that does not learn."""
    endings, shows = Endings(rule), dict.fromkeys(STATES, 0)
    endings.see(Row(0, {"validation.loss[text]": 3.0, **start.values}))
    still = {"validation.loss[text]": 3.0 + rise}
    for update, numbers in enumerate(values, start=1):
        endings.see(Row(update, {**still, **numbers}))
        for state, shown in endings.shown.items():
            shows[state] += bool(shown)
    profile = endings.profile
    return shows, {state: int(profile[state]["entries"] or 0) for state in STATES}


def summed(told: Told, state: str, updates: int) -> dict[str, object]:
    """The numbers of a line of the table; rates are per 1,000 updates."""
    shows, entries = ([run[kind][state] for run in told] for kind in (0, 1))
    low, high = clopper_pearson(entries[0], updates)
    return {
        "updates": updates,
        "showing": shows[0],
        "entries": entries[0],
        "low": f"{1000 * low:.4g}",
        "high": f"{1000 * high:.4g}",
        "starts": len(told),
        "mean": f"{1000 * float(np.mean(entries)) / updates:.4g}",
    }


def values_of(draws: Draws, length: int) -> list[dict[str, Number]]:
    """The numbers of a probe of each sample, cut to a length; the first have the last before them.

    Samples do not end at an EOS token, as by default; `alarms` has `shrink` see them end.
    """
    pool, found = Pool(), list[dict[str, Number]]()
    for ids in draws.ids[-PROBES:]:
        pool.see([ids[:length]])
    for place, whole in enumerate(draws.ids):
        ids = whole[:length]
        loop = find_loop(ids)
        told: dict[str, Number] = dict(pool.see([ids]))
        told |= {"text.loop_share": loop.share if loop else 0.0, "text.seq_rep_4": seq_rep(ids)}
        if draws.losses is not None and draws.entropies is not None:
            told["probe.loss"] = float(draws.losses[place][length - 1])
            told["probe.entropy"] = float(draws.entropies[place][length - 1])
            told["probe.length"] = length
        found.append(told)
    return found


def base_row(draws: Draws, length: int, values: Sequence[Mapping[str, Number]]) -> Row | None:
    """Row 0 with the levels of further draws; None where there are none."""
    if draws.losses is None or len(values) <= PROBES:
        return None
    names = {f"base_samples.{n.partition('.')[2]}": n for n in values[0]}
    means = {own: float(np.mean([one[n] for one in values])) for own, n in names.items()}
    return Row(0, {"base_samples.count": len(values), **means})


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a binomial share (Clopper and Pearson 1934)."""
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


# --- rendering -------------------------------------------------------------------------------


def render(results: Path = RESULTS) -> str:
    """The tables of the page, from the committed ones; a sentence where there are none."""
    path = results / "endings.csv"
    if not path.is_file():
        return "Not measured yet."
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    about = json.loads((results / "about.json").read_text(encoding="utf-8"))
    parts = [
        f"Measured on {about['date']}: temperature {about['temperature']}, top-k {about['top_k']}, "
        f"learning rate 0. A cell: entries into the state within the updates drawn; the 95 % "
        f"interval of their rate per 1,000 updates; the mean rate over {lines[0]['starts']} places "
        "to begin at."
    ]
    for reference in (FIRST, SAMPLES):
        own = [line for line in lines if line["reference"] == reference]
        if own:
            parts += [f"### Levels of the base model by {reference}", _table(own), _verdict(own)]
    if not (results / "lengths.csv").is_file():
        return "\n\n".join(parts)
    return "\n\n".join([*parts, "### Long samples of a model that is not known", lengths(results)])


def lengths(results: Path) -> str:
    """How much models repeat themselves untrained, by length."""
    with (results / "lengths.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [
        ["model", "tokens", "degenerate samples", "`pool.distinct_4`", "entries into `mode`"],
        ["---", *["---:"] * 4],
        *(
            [
                *(line[name] for name in ("text", "length", "degenerate", "distinct_4")),
                "{entries} ({low} to {high})".format(**line),
            ]
            for line in lines
        ),
    ]
    told = (
        "The same draws without base samples, if 4-grams counted against a level of 1 in samples "
        "of any length: share of samples that are degenerate and mean distinct 4-grams, before any "
        "training; false entries into `mode`, with the interval of their rate per 1,000 updates."
    )
    return told + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _table(lines: Sequence[Mapping[str, str]]) -> str:
    states = ["loop", "mode", *MODES, AFTER_DRIFT, "shrink"]
    rows = [["text", "tokens", "updates", *states], ["---", *["---:"] * (2 + len(states))]]
    for key, own in _grouped(lines).items():
        cells = [_cell(own[state]) if state in own else "" for state in states]
        rows.append([*key, next(iter(own.values()))["updates"], *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _grouped(
    lines: Iterable[Mapping[str, str]],
) -> dict[tuple[str, str], dict[str, Mapping[str, str]]]:
    found: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for line in sorted(lines, key=lambda one: one["text"].startswith("human")):
        found.setdefault((line["text"], line["length"]), {})[line["state"]] = line
    return found


def _cell(line: Mapping[str, str]) -> str:
    return f"{line['entries']} ({line['low']} to {line['high']}; {line['mean']})"


def _verdict(lines: Sequence[Mapping[str, str]]) -> str:
    """Which of the states are seen to miss the aim, in words, and what is not excluded."""
    own = [line for line in lines if line["state"] in ("loop", "mode", "shrink")]
    missed = [line for line in own if 1000 * int(line["entries"]) / int(line["updates"]) > AIM]
    told = ", ".join(f"{m['state']} ({m['text']}, {m['length']} tokens)" for m in missed)
    aim = f"at most {AIM:g} false alarm per 1,000 updates"
    if missed:
        return f"Of {len(own)} states and texts {len(missed)} miss the aim of {aim}: {told}."
    limits = [float(line["high"]) for line in own]
    return (
        f"None of {len(own)} states and texts (loop, mode, shrink) is seen to miss the aim of "
        f"{aim}. So many draws do not exclude more: the upper limits are {min(limits):.3g} to "
        f"{max(limits):.3g} per 1,000 updates."
    )


if __name__ == "__main__":
    main()
