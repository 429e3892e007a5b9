"""Run directories for tests of the page: samples with all that is known of their tokens."""

import json
import math
import random
import shutil
from pathlib import Path

from run_dirs import falling_train, rising, write_run

from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row
from collapse_lm.rundir.rows import row_line, sample_line

WORDS = [
    "the",
    "state",
    "of",
    "our",
    "union",
    "is",
    "strong",
    "because",
    "people",
    "build",
    "farms",
    "schools",
    "roads",
    "and",
    "bridges",
    "while",
    "children",
    "learn",
    "to",
    "read",
    "write",
    "count",
    "sing",
    "play",
    "and",
    "every",
    "village",
    "has",
    "water",
    "light",
    "work",
    "bread",
    "peace",
    "hope",
    "courage",
    "winter",
    "summer",
    "river",
    "mountain",
    "harbour",
    "engine",
]
LOOP = ("again", "and", "again", "we", "say")
ALERT = "window.executed = true"
NASTY = [
    f"<script>{ALERT}</script>",
    f'"><img src=x onerror="{ALERT}">',
    "</script></textarea></style><h1>out</h1>",
    "{{7*7}} {% raw %} ${7*7} <%= 7*7 %>",
    "\x1b[31;5mred\x1b]0;title\x07 \x08\x08 \x00end",
    "\u202ereversed\u202c \u200f\u2067mixed\u2069 \u05e9\u05dc\u05d5\u05dd",
    "x" * 5000,
    "\U0001f98a \u4e2d\u6587 e\u0301 &amp; &lt;b&gt; <!-- --> ]]>",
]


def sample(update, onset, tokens=200, seed=0):
    """A text of words that falls into a loop from its middle at the onset, with its tokens."""
    chance = random.Random(f"{seed}-{update}")
    looped = tokens * 3 // 4 if update >= onset else 0
    free = [chance.choice(WORDS) for _ in range(tokens - looped)]
    words = free + [LOOP[i % len(LOOP)] for i in range(looped)]
    ends, at = [], 0
    for word in words:
        at += len(word) + 1
        ends.append(at)
    likely = [0.05 if place >= len(free) else 4 * chance.random() for place in range(tokens)]
    known = {
        "log_probs": tuple(round(-value, 3) for value in likely),
        "entropies": tuple(round(value * 1.2, 3) for value in likely),
        "base_log_probs": tuple(round(-value - chance.random(), 3) for value in likely),
    }
    text = "".join(f" {word}" for word in words)
    return Text((0,), tuple(range(tokens)), "own", text, ends=tuple(ends), **known)


def with_samples(folder, texts_of, updates):
    """Give a run other samples: texts_of(update) -> texts."""
    with (Path(folder) / "samples.jsonl").open("w", encoding="utf-8") as file:
        for update in updates:
            file.write(sample_line(Record(Row(update), Batch(tuple(texts_of(update))))) + "\n")
    return Path(folder)


def told_run(folder, onset=12, updates=24, tokens=200, every=1, seed=0, **options):
    """A run whose samples tell everything of their tokens, and that collapses at the onset."""
    write_run(folder, collapse=onset, updates=updates, stop=False, seed=seed, **options)

    def texts_of(update):
        return [] if (update - 1) % every else [sample(update, onset, tokens, seed)]

    return with_samples(folder, texts_of, range(1, updates + 1))


def nasty_run(folder):
    """A run whose texts would like to be something else, one of them per tab."""
    write_run(folder, collapse=3, updates=6, stop=False)
    texts = [Text((0, 1), (1,), "own", text, prompt_text=f"{text[:200]} prompt") for text in NASTY]
    return with_samples(folder, lambda update: texts, range(1, 7))


def big_runs(folder, runs=50, updates=1000, tokens=200):
    """Many long runs: one is written, the others are copies with a seed of their own."""
    first = told_run(Path(folder) / "seed0", updates // 3, 4, tokens)
    rows = [Row(0, {"validation.loss[sotu]": 3.0})]
    for update in range(1, updates + 1):
        values = {
            "train.loss": falling_train(update, updates // 3) + math.sin(update) / 50,
            "text.loop_share": 0.75 if update >= updates // 3 else 0.0,
            "text.seq_rep_4": 0.7 if update >= updates // 3 else math.sin(update) ** 2 / 20,
            "probe.entropy": 2 + math.cos(update) / 10,
            "validation.loss[sotu]": rising(update, "sotu"),
        }
        rows.append(Row(update, values))
    (first / "updates.jsonl").write_text("".join(f"{row_line(row)}\n" for row in rows))
    known = range(1, updates + 1)
    with_samples(first, lambda update: [sample(update, updates // 3, tokens)], known)
    for seed in range(1, runs):
        place = Path(folder) / f"seed{seed}"
        shutil.copytree(first, place)
        manifest = json.loads((place / "manifest.json").read_text())
        (place / "manifest.json").write_text(json.dumps(manifest | {"seed": seed}))
        config = (place / "config.yaml").read_text()
        (place / "config.yaml").write_text(config.replace("seed: 0", f"seed: {seed}", 1))
    return Path(folder)
