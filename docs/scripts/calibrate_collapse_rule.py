"""Measure how often the collapse rule calls ordinary text degenerate, and write it down.

Scores windows of human text, samples of the base model and the examples in the paper's
Table 1 with the default rule, and renders the tables between the two marker comments of
docs/collapse-rule.md. Knows nothing of runs: no model is trained here.

    .venv/bin/python docs/scripts/calibrate_collapse_rule.py [--samples 1000] [--threads 2]

Reads `sotu` and `sotu-train`, and where COLLAPSE_LM_DATA is set also `wikitext2` and
`ptb`. Random numbers come from streams of seed 0, so a run on the same machine and
number of threads gives the same tables. Progress goes to stderr.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta
from torch.nn import functional

from collapse_lm import rng
from collapse_lm.config import CollapseRule
from collapse_lm.corpora.corpus import DATA_VARIABLE, load_corpus
from collapse_lm.inference import Network, inference_network
from collapse_lm.machine.compute import choose_device, choose_precision
from collapse_lm.measures.rule import Observation, reasons
from collapse_lm.measures.text import find_loop, seq_rep
from collapse_lm.models.load import LanguageModel, load_model
from collapse_lm.sampling import Filters, sample

from marked import put_between

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "collapse-rule.md"
TABLE1 = ROOT / "tests" / "data" / "paper_table1.json"
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"

MODEL = "smollm2-135m"
SEED = 0
TOKENS = 200  # of a window and of a sample: Table 2 of the paper
BATCH = 50  # samples drawn together
SCORED = 200  # windows of each corpus whose train loss is measured
UPDATES = 1000  # of a long run (the default of run.max_updates)
FILTERS = Filters(temperature=0.8, top_k=500)  # Table 2 of the paper
TARGET = 0.001  # largest share of degenerate texts that the rule aims at
RULE = CollapseRule()
TEXT = ("loop_share", "seq_rep_4")
CRITERIA = (*TEXT, "train_loss")
SENSITIVITY = {"loop_share": (0.3, 0.4, 0.5, 0.6), "seq_rep_4": (0.5, 0.6, 0.7, 0.8, 0.9)}

Ids = Sequence[int]
Test = Callable[[Observation], bool]
Example = tuple[int, Observation]  # length in tokens, and what the rule looks at


@dataclass(frozen=True)
class Group:
    """Texts of one origin.

    Attributes:
        name: a corpus, or the base model.
        texts: an observation of each; its train loss is NaN where it was not measured.
    """

    name: str
    texts: tuple[Observation, ...]

    @property
    def scored(self) -> "Group":
        """The texts whose train loss was measured."""
        return Group(self.name, tuple(o for o in self.texts if not math.isnan(o.train_loss)))

    def count(self, test: Test) -> int:
        """Count the texts that pass a test."""
        return sum(map(test, self.texts))

    def percentiles(self, metric: str, points: Mapping[str, float]) -> list[str]:
        """Format percentiles of one metric."""
        values = [getattr(observation, metric) for observation in self.texts]
        return [f"{value:.3f}" for value in np.percentile(values, list(points.values()))]


# --- measuring ----------------------------------------------------------------------------


def main() -> None:
    """Measure everything and rewrite the tables of the page."""
    options = parse_options()
    started = time.monotonic()
    torch.set_num_threads(options.threads)
    compute = choose_precision("auto", choose_device())
    model = load_model(MODEL)
    model.network.to(compute.device)
    network = inference_network(model.network, compute.precision)
    human = [measure_corpus(name, model, network) for name in corpus_names()]
    base = measure_base(options.samples, model, network)
    examples = measure_examples(model)
    minutes = (time.monotonic() - started) / 60
    note = describe_machine(f"{compute.device.type.upper()} in {compute.precision}", minutes)
    put_between(options.page, BEGIN, END, f"\n\n{render(human, base, examples, note)}\n\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1000, help="base-model samples")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that holds the tables")
    return parser.parse_args()


def corpus_names() -> list[str]:
    """The packaged corpora, and those of the folder COLLAPSE_LM_DATA where it is set."""
    local = ["wikitext2", "ptb"] if os.environ.get(DATA_VARIABLE) else []
    return ["sotu", "sotu-train", *local]


def measure_corpus(name: str, model: LanguageModel, network: Network) -> Group:
    """Observe every whole window of a corpus, and the train loss of a random subset."""
    ids = tokenize(model.tokenizer, load_corpus(name).text)
    windows = [ids[start : start + TOKENS] for start in range(0, len(ids) - TOKENS + 1, TOKENS)]
    order = torch.randperm(len(windows), generator=rng.stream(SEED, "window"))
    scored = set(order[:SCORED].tolist())
    observations = (
        observe(window, train_loss(network, model, window) if index in scored else math.nan)
        for index, window in enumerate(windows)
    )
    return Group(name, tuple(progress(name, len(windows), observations)))


def measure_base(samples: int, model: LanguageModel, network: Network) -> Group:
    """Observe samples of the base model, drawn in batches as the first update of a run draws."""
    observations = (
        observe(ids, train_loss(network, model, ids))
        for batch in range(math.ceil(samples / BATCH))
        for ids in draw_batch(batch, min(BATCH, samples - batch * BATCH), model, network)
    )
    return Group("base samples", tuple(progress("base samples", samples, observations)))


def draw_batch(batch: int, size: int, model: LanguageModel, network: Network) -> tuple[Ids, ...]:
    """Draw samples with full context after the start token; each batch has its own stream."""
    uniform_BT = rng.uniforms(rng.stream(SEED, "sample", batch), size, TOKENS)
    return sample(network, [model.start_token], uniform_BT, FILTERS).samples


def measure_examples(model: LanguageModel) -> dict[str, Example]:
    """Length and observation of each example of the paper's Table 1, by its iteration."""
    texts: dict[str, str] = json.loads(TABLE1.read_text(encoding="utf-8"))
    tokenized = {key: tokenize(model.tokenizer, text) for key, text in texts.items()}
    return {key: (len(ids), observe(ids)) for key, ids in tokenized.items()}


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """Tokenize as an evaluation does: special tokens in a text are plain characters."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return list(encoded["input_ids"])


def observe(ids: Ids, loss: float = math.nan) -> Observation:
    """Return what the rule looks at in one text."""
    loop = find_loop(ids)
    return Observation(0, 0.0 if loop is None else loop.share, seq_rep(ids), loss)


@torch.inference_mode()
def train_loss(network: Network, model: LanguageModel, ids: Ids) -> float:
    """Mean nats per token of a text after the start token, at temperature 1."""
    stream_T = torch.tensor([model.start_token, *ids], device=network.device)
    logits_TV = network.logits(network.hidden(stream_T[None, :-1])[0])
    return float(functional.cross_entropy(logits_TV, stream_T[1:]))


def progress(name: str, total: int, items: Iterable[Observation]) -> Iterator[Observation]:
    """Pass items through and say on stderr how many have come by."""
    for index, item in enumerate(items, start=1):
        if index == total or index % max(1, total // 20) == 0:
            print(f"\r{name}: {index}/{total}", end="", file=sys.stderr, flush=True)
        yield item
    print(file=sys.stderr)


# --- statistics -----------------------------------------------------------------------------


def fires(*criteria: str, rule: CollapseRule = RULE) -> Test:
    """Return the test whether any of these criteria of a rule calls a text degenerate."""
    return lambda observation: not set(criteria).isdisjoint(reasons(observation, rule))


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a binomial share (Clopper and Pearson 1934)."""
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


# --- rendering ------------------------------------------------------------------------------


def render(human: list[Group], base: Group, examples: dict[str, Example], note: str) -> str:
    """Join all tables under their headings."""
    pooled = Group("all human text", tuple(o for group in human for o in group.texts))
    groups = [*human, pooled, base]
    sections = {
        "How often a text is degenerate by its tokens": "\n\n".join(
            [rate_table(groups), verdict(pooled, TEXT), verdict(base, TEXT)]
        ),
        "How large the text metrics get": percentile_table(groups),
        "How small the train loss gets": loss_table([group.scored for group in groups]),
        "Single samples of the base model, and five in a row": "\n\n".join(
            [streak_table(base), verdict(base, CRITERIA)]
        ),
        "The paper's Table 1": example_table(examples),
        "Other thresholds": sensitivity_table(pooled, base, examples),
    }
    return "\n\n".join([note, *(f"### {title}\n\n{body}" for title, body in sections.items())])


def rate_table(groups: Sequence[Group]) -> str:
    """One row per group: how many texts each text criterion, or either, calls degenerate."""
    header = ["text", "windows", *(named(c) for c in TEXT), "either", "95 % interval of either"]
    rows = [
        [
            group.name,
            f"{len(group.texts):,}",
            *(rate(group, fires(criterion))[0] for criterion in TEXT),
            *rate(group, fires(*TEXT)),
        ]
        for group in groups
    ]
    return table(header, rows)


def verdict(group: Group, criteria: Sequence[str]) -> str:
    """Compare the rate of degenerate texts of a group with the target, in a sentence."""
    share, interval = rate(group, fires(*criteria))
    low, high = clopper_pearson(group.count(fires(*criteria)), len(group.texts))
    outcome = "below" if high < TARGET else "above" if low > TARGET else "not told apart from"
    names = " or ".join(f"`{name}`" for name in criteria)
    return (
        f"Of {len(group.texts):,} ({group.name}), {share} are degenerate by {names}, "
        f"95 % interval {interval}: {outcome} the target of {TARGET:.1%}."
    )


def percentile_table(groups: Sequence[Group]) -> str:
    """One row per group, one column per text metric and percentile."""
    points = {"median": 50, "99 %": 99, "99.9 %": 99.9, "most": 100}
    header = ["text", *(f"`{metric}` {name}" for metric in TEXT for name in points)]
    rows = [
        [group.name, *(cell for metric in TEXT for cell in group.percentiles(metric, points))]
        for group in groups
    ]
    return table(header, rows)


def loss_table(groups: Sequence[Group]) -> str:
    """One row per group: percentiles of the train loss and the share below the threshold."""
    points = {"least": 0, "1 %": 1, "10 %": 10, "median": 50}
    header = ["text", "windows", *points, named("train_loss"), "95 % interval"]
    rows = [
        [
            group.name,
            f"{len(group.texts):,}",
            *group.percentiles("train_loss", points),
            *rate(group, fires("train_loss")),
        ]
        for group in groups
    ]
    return table(header, rows)


def streak_table(base: Group) -> str:
    """One row per criterion: the rate of one sample, and what it means for a streak.

    A run of U updates has U - patience + 1 places where a streak can begin, so that
    number times the probability of a streak bounds the probability of any.
    """
    places = UPDATES - RULE.patience + 1
    header = [
        "criterion",
        *(f"degenerate of {len(base.texts):,}", "95 % interval"),
        *(f"{RULE.patience} in a row", f"within {UPDATES:,} updates, at most"),
    ]
    tests = {named(c): fires(c) for c in CRITERIA} | {"any": fires(*CRITERIA)}
    rows = []
    for name, test in tests.items():
        count, total = base.count(test), len(base.texts)
        streak = (count / total) ** RULE.patience
        most = places * clopper_pearson(count, total)[1] ** RULE.patience
        rows.append([name, *rate(base, test), small(streak), small(most)])
    return table(header, rows)


def example_table(examples: dict[str, Example]) -> str:
    """One row per example of the paper, judged by the text criteria."""
    header = ["iteration", "tokens", *(f"`{metric}`" for metric in TEXT), "degenerate"]
    rows = [
        [
            key,
            str(tokens),
            *(f"{getattr(seen, metric):.3f}" for metric in TEXT),
            ", ".join(f"`{reason}`" for reason in reasons(seen, RULE)) or "no",
        ]
        for key, (tokens, seen) in examples.items()
    ]
    return table(header, rows)


def sensitivity_table(human: Group, base: Group, examples: dict[str, Example]) -> str:
    """One row per threshold of one criterion: what that criterion alone calls degenerate.

    One more column counts the base samples that the whole rule then calls degenerate.
    """
    header = [
        "criterion",
        *(f"{len(human.texts):,} human windows", "95 % interval"),
        *(f"{len(base.texts):,} base samples", "95 % interval"),
        "base, any criterion",
        "Table 1",
    ]
    rows = []
    for criterion, thresholds in SENSITIVITY.items():
        for threshold in thresholds:
            rule = RULE.model_copy(update={criterion: threshold})
            test = fires(criterion, rule=rule)
            caught = [key for key, (_, seen) in examples.items() if test(seen)]
            rows.append(
                [
                    named(criterion, rule) + (" (default)" if rule == RULE else ""),
                    *(*rate(human, test), *rate(base, test)),
                    rate(base, fires(*CRITERIA, rule=rule))[0],
                    ", ".join(caught) or "none",
                ]
            )
    return table(header, rows)


def named(criterion: str, rule: CollapseRule = RULE) -> str:
    """A criterion with its threshold."""
    sign = "<" if criterion == "train_loss" else "≥"
    return f"`{criterion}` {sign} {getattr(rule, criterion)}"


def rate(group: Group, test: Test) -> tuple[str, str]:
    """Format how many texts pass a test with their share, and the exact interval of it."""
    count, total = group.count(test), len(group.texts)
    low, high = clopper_pearson(count, total)
    return f"{count} ({count / total:.2%})", f"{low:.3%} to {high:.3%}"


def small(probability: float) -> str:
    """Format a probability near 0."""
    return f"{probability:.0e}" if probability else "0"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table, the first column to the left and the others to the right."""
    alignment = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, alignment, *rows])


def describe_machine(used: str, minutes: float) -> str:
    """Say when, on what and how the tables were measured."""
    features = ", AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else ""
    threads = torch.get_num_threads()
    version = torch.__version__.partition("+")[0]
    return (
        f"Measured on {date.today().isoformat()} with `{MODEL}` on the {used}; "
        f"{os.cpu_count()} CPU cores{features}, "
        f"{threads} thread{'s' if threads > 1 else ''}, torch {version}, "
        f"seed {SEED}, {TOKENS} tokens per window and sample; {minutes:.0f} minutes."
    )


if __name__ == "__main__":
    main()
