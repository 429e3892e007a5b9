"""The toys against what is known of them: docs/results/toys/*.csv and the tables of docs/toys.md.

    python docs/scripts/measure_toys.py --jobs 2        # all arms
    python docs/scripts/measure_toys.py --arms sgd adam # some of them, others kept
    python docs/scripts/measure_toys.py --render        # the page, from the tables alone

What is predicted stands in docs/predictions.md ("Toys"), with the rules of the verdicts.
"""

import argparse
import csv
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from collapse_lm import rng
from collapse_lm.analysis.stats.time_ratio import time_ratio
from collapse_lm.measures import judge
from collapse_lm.measures.names import Row
from collapse_lm.toys.names import parse
from collapse_lm.toys.reference import entropy, probabilities
from collapse_lm.toys.theory import adam_drift, drawn_from, mean_field_dose
from collapse_lm.toys.trials import passage, trial

DOCS = Path(__file__).parents[1]
DATA, PAGE = DOCS / "results" / "toys", DOCS / "toys.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ZIPF, UNIFORM, GAUSSIAN = "toy:unigram:64@1", "toy:unigram:64@0", "toy:gaussian:4096"
WORDS, NUMBERS, GENERATIONS = 16, 10, 20  # of a text, and generations of a Gaussian

Rows = Iterator[Row]
Found = dict[str, float]


@dataclass(frozen=True)
class Arm:
    """Runs that differ in rate and seed.

    Attributes:
        model: the toy.
        seeds: how many, from 0 on.
        rates: learning rates.
        dose: sum of rates at which a run ends that has not ended before.
        changes: keys of the configuration.
        parts: makes what is handed over from Python.
        read: numbers of a run, from its rows.
        kept: values of rows that are kept by update, up to `kept_until`.
    """

    model: str
    seeds: int
    rates: tuple[float, ...]
    dose: float
    read: Callable[[Rows], Found]
    changes: Mapping[str, Any] = field(default_factory=dict)
    parts: Callable[[], Mapping[str, Any]] = dict
    kept: tuple[str, ...] = ()
    kept_until: int = 0


def main() -> None:
    """Measure what is asked for, then render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        measure(options.arms, options.jobs)
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{results(DATA)}{END}{after}", "utf-8")


# --- reading a run -------------------------------------------------------------------------------


def entropies(rows: Rows) -> Iterator[tuple[float, float]]:
    """Updates done, and predictive entropy of the model after them."""
    return (
        (row.update - 1, row.get("probe.entropy")) for row in rows if "probe.entropy" in row.values
    )


def halved(rows: Rows) -> Found:
    """When the entropy is half of the first one."""
    series = entropies(rows)
    first = next(series)
    return {"halved": _or_nan(passage(itertools.chain([first], series), first[1] / 2))}


def halved_and_looped(rows: Rows) -> Found:
    """The same, and the collapse update of the rule (a run to its end)."""
    known = list(rows)
    update = judge(known).collapse_update
    return {**halved(iter(known)), "looped": _or_nan(update)}


def risen(rows: Rows) -> Found:
    """When the validation loss is up by .5 nats."""
    series = (
        (row.update, value) for row in rows for value in row.labelled("validation.change").values()
    )
    return {"risen": _or_nan(passage(series, 0.5))}


def last_entropy(rows: Rows) -> Found:
    """Mean entropy of the last five probes."""
    return {"entropy": float(np.mean([value for _, value in list(entropies(rows))[-5:]]))}


def drift(rows: Rows) -> Found:
    """Step of the mean logit per update, once Adam's memory is full."""
    known = {row.update: row.get("mean_logit") for row in rows}
    return {"drift": (known[300] - known[100]) / 200}


def fixed(rows: Rows) -> Found:
    """The first generation whose tokens are all one."""
    one = 1.5 / WORDS
    return {
        "fixed": next((row.update for row in rows if row.get("text.distinct_1") < one), math.nan)
    }


def nothing(rows: Rows) -> Found:
    """Read to the end; what counts is kept by update."""
    for _ in rows:
        pass
    return {}


def mean_logit(at: Any, batch: Any, probe: Any) -> Found:
    """A measure of this script: the mean logit of a unigram."""
    return {"mean_logit": float(at.models.trained.word_logits.detach().double().mean())}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- the arms ------------------------------------------------------------------------------------


def wright_fisher() -> dict[str, Any]:
    """Learner and measure of a unigram in generations."""
    from collapse_lm.toys.generations import heterozygosity
    from collapse_lm.toys.learners import MultinomialLikelihood

    return {"optimizer": MultinomialLikelihood, "measures": [heterozygosity]}


def replaced() -> dict[str, Any]:
    """Learner and measure of a Gaussian in generations."""
    from collapse_lm.toys.generations import moments
    from collapse_lm.toys.learners import GaussianLikelihood

    return {"optimizer": GaussianLikelihood, "measures": [moments]}


def accumulated() -> dict[str, Any]:
    """The same on all texts so far."""
    from collapse_lm.toys.generations import Accumulated

    return {**replaced(), "source": Accumulated}


SGD = {"training.optimizer.kind": "sgd"}
SHARP = {"sampling.temperature": 0.8}
PROBED = {"probe.every": 10}
TO_THE_END = {"training.learning_rate": 1, **SGD, **PROBED}
OF_NUMBERS = {"sampling.max_new_tokens": NUMBERS}
MOMENTS = ("toy.mean", "toy.variance")
ARMS = {
    "sgd": Arm(ZIPF, 8, (0.04, 0.12, 0.4), 25, halved_and_looped, {**SGD, **SHARP}),
    "adam": Arm(ZIPF, 8, (0.005, 0.015, 0.05), 5, halved, SHARP),
    "neutral": Arm(
        UNIFORM,
        24,
        (0.436, 1.38, 4.36),
        10_000,
        risen,
        {**SGD, "sampling.max_new_tokens": 8, "evaluation.every": 1},
    ),
    **{
        f"top-{k}": Arm(ZIPF, 8, (0.25,), 200, halved, {**SGD, "sampling.top_k": k})
        for k in (8, 16, 32)
    },
    "frozen": Arm(
        ZIPF, 8, (1.0,), 400, last_entropy, {**TO_THE_END, **SHARP, "source.kind": "frozen"}
    ),
    "hot": Arm(ZIPF, 8, (1.0,), 400, last_entropy, {**TO_THE_END, "sampling.temperature": 1.2}),
    "real": Arm(
        ZIPF,
        8,
        (1.0,),
        400,
        last_entropy,
        {
            **TO_THE_END,
            "source.kind": "real",
            "source.corpus": ZIPF,
            "evaluation.corpora": [UNIFORM],
        },
    ),
    "adam-drift": Arm(
        UNIFORM,
        5,
        (0.001,),
        0.3,
        drift,
        {"sampling.max_new_tokens": 64},
        lambda: {"measures": [mean_logit]},
    ),
    "wright-fisher": Arm(
        UNIFORM,
        200,
        (1.0,),
        500,
        fixed,
        {"sampling.max_new_tokens": WORDS},
        wright_fisher,
        ("toy.heterozygosity",),
        10,
    ),
    "replace": Arm(
        GAUSSIAN, 300, (1.0,), GENERATIONS, nothing, OF_NUMBERS, replaced, MOMENTS, GENERATIONS
    ),
    "accumulate": Arm(
        GAUSSIAN, 300, (1.0,), GENERATIONS, nothing, OF_NUMBERS, accumulated, MOMENTS, GENERATIONS
    ),
}


COLUMNS = {
    "runs.csv": ("arm", "rate", "seed", "name", "value"),
    "updates.csv": (
        "arm",
        "seed",
        "update",
        *sorted({n for arm in ARMS.values() for n in arm.kept}),
    ),
}


# --- measuring -----------------------------------------------------------------------------------


def measure(names: Sequence[str], jobs: int) -> None:
    """Do the runs of some arms, and write both tables; rows of other arms are kept."""
    tasks = [(n, rate, s) for n in names for rate in ARMS[n].rates for s in range(ARMS[n].seeds)]
    begin = time.perf_counter()
    with ProcessPoolExecutor(jobs, initializer=one_thread) as pool:
        done = list(pool.map(run_one, tasks, chunksize=4))
    print(f"{len(tasks)} runs in {time.perf_counter() - begin:.0f} s")
    DATA.mkdir(parents=True, exist_ok=True)
    write(DATA / "runs.csv", names, [row for rows, _ in done for row in rows])
    write(DATA / "updates.csv", names, [row for _, rows in done for row in rows])


def one_thread() -> None:
    """Two processes on two cores."""
    import torch

    torch.set_num_threads(1)


def run_one(task: tuple[str, float, int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables for one run."""
    name, rate, seed = task
    arm = ARMS[name]
    changes = {**arm.changes, "training.learning_rate": rate}
    updates = round(arm.dose / rate)
    kept: list[dict[str, Any]] = []
    own = {"arm": name, "rate": rate, "seed": seed}

    def watched() -> Rows:
        for row in trial(arm.model, seed, updates, changes, **arm.parts()):
            if row.update <= arm.kept_until:
                told = {name: digits(row.get(name)) for name in arm.kept}
                kept.append({"arm": name, "seed": seed, "update": row.update, **told})
            yield row

    found = arm.read(watched())
    return [{**own, "name": n, "value": digits(v)} for n, v in found.items()], kept


def digits(value: float) -> str:
    """Five digits; empty for what did not happen."""
    return "" if math.isnan(value) else f"{value:.5g}"


def write(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, the arms in their order."""
    kept = [row for row in read(path) if row["arm"] not in names] if path.exists() else []
    order = {name: place for place, name in enumerate(ARMS)}
    rows = sorted([*kept, *rows], key=lambda row: order[row["arm"]])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS[path.name], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- statistics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, and the runs behind it."""

    value: float
    lower: float
    upper: float
    runs: int


@dataclass(frozen=True)
class Table:
    """Both tables of a folder."""

    runs: list[dict[str, str]]
    updates: list[dict[str, str]]

    def numbers(self, arm: str, name: str) -> list[tuple[float, int, float]]:
        """Rate, seed and number (NaN where it did not happen) of the runs of an arm."""
        rows = [row for row in self.runs if (row["arm"], row["name"]) == (arm, name)]
        return [(float(r["rate"]), int(r["seed"]), float(r["value"] or "nan")) for r in rows]

    def series(self, arm: str, name: str) -> np.ndarray:
        """A value by seed and update, from update 0 on; 0 past the end of a run.

        A run that ends before is one whose words are all one: it stays so.
        """
        rows = [row for row in self.updates if row["arm"] == arm]
        found = np.zeros((ARMS[arm].seeds, ARMS[arm].kept_until + 1))
        for row in rows:
            found[int(row["seed"]), int(row["update"])] = float(row[name])
        return found


def exponent(table: Table, arm: str, name: str) -> Estimate:
    """Exponent b of time ~ rate^b; a run without the event counts as censored at the arm's dose."""
    found = table.numbers(arm, name)
    end = ARMS[arm].dose
    times = [end / rate if math.isnan(value) else value for rate, _, value in found]
    seen = [not math.isnan(value) for *_, value in found]
    logs, seeds = [math.log(rate) for rate, *_ in found], [seed for _, seed, _ in found]
    ratio = time_ratio(times, seen, logs, [0] * len(found), seeds, spacing=0)
    return Estimate(math.log(ratio.value), math.log(ratio.lower), math.log(ratio.upper), len(found))


def mean(values: Sequence[float]) -> Estimate:
    """Mean with Student's interval; all must have happened."""
    array = np.asarray(values, dtype=float)
    half = float(student.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    value = float(array.mean())
    return Estimate(value, value - half, value + half, len(array))


def dose(table: Table, arm: str) -> Estimate:
    """Dose at entropy halved, at the lowest rate."""
    found = table.numbers(arm, "halved")
    lowest = min(rate for rate, *_ in found)
    return mean([rate * value for rate, _, value in found if rate == lowest])


def plain(table: Table, arm: str, name: str) -> Estimate:
    """A number of an arm, over its runs."""
    return mean([value for *_, value in table.numbers(arm, name)])


def per_rate(table: Table) -> Estimate:
    """Drift of the mean logit per update, over the rate."""
    return mean([value / rate for rate, _, value in table.numbers("adam-drift", "drift")])


def retention(table: Table) -> Estimate:
    """Heterozygosity of a generation over that of the one before, from ten generations."""
    series = table.series("wright-fisher", "toy.heterozygosity")
    whole = mean(series[:, -1] / series[:, 0])
    root = 1 / (series.shape[1] - 1)
    limits = (whole.value**root, max(whole.lower, 0) ** root, whole.upper**root)
    return Estimate(*limits, whole.runs)


def shrinkage(table: Table) -> Estimate:
    """Variance of a generation over that of the one before; mean over generations, then seeds."""
    series = table.series("replace", "toy.variance")
    return mean((series[:, 1:] / series[:, :-1]).mean(axis=1))


def efficiency(table: Table, arm: str) -> Estimate:
    """Variance of the mean after generation 1 over that after the last, by bootstrap over seeds."""
    means = table.series(arm, "toy.mean")

    def of(rows: np.ndarray) -> float:
        return float(rows[:, 1].var() / rows[:, -1].var())

    numbers = rng.numpy_stream(0, "bootstrap")
    drawn = [of(means[numbers.integers(len(means), size=len(means))]) for _ in range(2000)]
    return Estimate(of(means), *map(float, np.quantile(drawn, [0.025, 0.975])), len(means))


# --- predictions and verdicts --------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """A line of docs/predictions.md: what, the number, its band (None: the rule for exponents)."""

    what: str
    number: float
    band: tuple[float, float] | None
    of: Callable[[Table], Estimate]

    def verdict(self, found: Estimate) -> str:
        """Held, failed or undecided, by the page's rules."""
        if self.band is None:
            holds = found.lower <= self.number <= found.upper
            is_near = abs(found.value - self.number) <= 0.1
            return "held" if holds and is_near else "undecided" if holds or is_near else "failed"
        low, high = self.band
        if low <= found.lower and found.upper <= high:
            return "held"
        return "failed" if found.upper < low or found.lower > high else "undecided"


def _around(number: float, width: float) -> tuple[float, float]:
    return number - width, number + width


def predictions() -> dict[str, Prediction]:
    """All lines, with the numbers that the formulas give."""
    first = probabilities(parse(ZIPF))
    sharp = entropy(drawn_from(np.log(first), 0.8))
    cut = {k: mean_field_dose(first, 1.0, k) for k in (8, 16, 32)}
    lines = {
        "U1": Prediction(
            "SGD, T .8: exponent of the time to entropy halved",
            -1,
            None,
            lambda t: exponent(t, "sgd", "halved"),
        ),
        "U2": Prediction(
            "the same: dose at entropy halved",
            mean_field_dose(first, 0.8, None),
            (11.5, 14),
            lambda t: dose(t, "sgd"),
        ),
        "U3": Prediction(
            "the same: exponent of the time to the loop",
            -1,
            None,
            lambda t: exponent(t, "sgd", "looped"),
        ),
        "U4": Prediction(
            "AdamW, T .8: exponent of the time to entropy halved",
            -1,
            None,
            lambda t: exponent(t, "adam", "halved"),
        ),
        "U5": Prediction(
            "SGD, T 1: exponent of the time to +.5 nats",
            -2,
            None,
            lambda t: exponent(t, "neutral", "risen"),
        ),
    }
    for k, number in cut.items():
        mass = 1 - np.sort(first)[-k:].sum()
        what = f"SGD, T 1, top-{k} (cut mass {mass:.3f}): dose at entropy halved"
        lines[f"U6, k {k}"] = Prediction(
            what, number, _around(number, 0.15 * number), lambda t, k=k: dose(t, f"top-{k}")
        )
    drifting, twenty = adam_drift(1 / 64, 64), range(GENERATIONS)
    return lines | {
        "U7": Prediction(
            "`frozen`, T .8: entropy",
            sharp,
            _around(sharp, 0.1),
            lambda t: plain(t, "frozen", "entropy"),
        ),
        "U8": Prediction(
            "SGD, T 1.2: entropy",
            math.log(64),
            _around(math.log(64), 0.1),
            lambda t: plain(t, "hot", "entropy"),
        ),
        "U9": Prediction(
            "`real`: entropy",
            entropy(first),
            _around(entropy(first), 0.1),
            lambda t: plain(t, "real", "entropy"),
        ),
        "U10": Prediction(
            "AdamW, T 1: drift of the mean logit", drifting, (-0.020, -0.0135), per_rate
        ),
        "W1": Prediction(
            "Wright-Fisher: heterozygosity, from one generation to the next",
            1 - 1 / WORDS,
            _around(1 - 1 / WORDS, 1 / 48),
            retention,
        ),
        "W2": Prediction(
            "Wright-Fisher: generations until one word is left",
            2 * WORDS * (1 - 1 / WORDS),
            (25, 35),
            lambda t: plain(t, "wright-fisher", "fixed"),
        ),
        "G1": Prediction(
            "Gaussian, replace: variance, from one generation to the next",
            1 - 1 / NUMBERS,
            _around(1 - 1 / NUMBERS, 0.03),
            shrinkage,
        ),
        "G2": Prediction(
            "Gaussian, accumulate: relative efficiency of the mean",
            1 / sum(1 / (i + 1) ** 2 for i in twenty),
            (0.5, 0.8),
            lambda t: efficiency(t, "accumulate"),
        ),
        "G3": Prediction(
            "Gaussian, replace: relative efficiency of the mean",
            1 / sum((1 - 1 / NUMBERS) ** i for i in twenty),
            (0.08, 0.16),
            lambda t: efficiency(t, "replace"),
        ),
    }


def results(folder: Path) -> str:
    """The table of the page, from the tables of a folder."""
    table = Table(read(folder / "runs.csv"), read(folder / "updates.csv"))
    lines = [
        "| id | what | predicted | measured (95 %) | runs | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, line in predictions().items():
        found = line.of(table)
        numbers = f"{found.value:.3g} ({found.lower:.3g} to {found.upper:.3g})"
        verdict = line.verdict(found)
        lines.append(
            f"| {name} | {line.what} | {line.number:.3g} | {numbers} | {found.runs} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
