"""Run directories made up with a known truth, for tests that read finished runs."""

import json
import math
from pathlib import Path

from collapse_lm.config import IDENTITY_VERSION, identity, resolve, to_yaml
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row, label
from collapse_lm.rundir import FORMAT_VERSION, RunReader
from collapse_lm.rundir.rows import row_line, sample_line

HOSTILE = "\x1b[2Jgone <script>alert(1)</script> ```` \u202eabc $x^2$ \u4e2d\U0001f98a --> [a](b)"


def rising(update, corpus):
    return 3 + update / 100 + (corpus == "ptb")


def falling_train(update, collapse):
    """From 3 nats down, and 0.05 from the collapse on; before it the rule sees nothing low."""
    if collapse is None:
        return 3.0
    return 0.05 if update >= collapse else max(0.2, 3 - 2.95 * update / collapse)


def write_run(
    folder,
    *,
    collapse=None,
    updates=30,
    rate=1e-4,
    seed=0,
    model="smollm2-135m",
    parameters=134_515_008,
    location=None,
    temperature=0.8,
    length=200,
    corpora=("sotu",),
    validation=rising,
    train=falling_train,
    repetitive=True,
    status="finished",
    stop=True,
    every=1,
    diverged=False,
    max_updates=None,
    text="some text",
    overrides=(),
):
    """Write a run that collapses at an update, by loops unless not `repetitive`, or never."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    last = collapse + 4 if collapse is not None and stop else updates
    config = resolve(
        {
            "seed": seed,
            "model": model,
            "sampling": {"temperature": temperature, "max_new_tokens": length},
            "training": {"learning_rate": rate},
            "evaluation": {"corpora": list(corpora), "every": every},
            "run": {"max_updates": max_updates or updates},
        },
        overrides,
    )
    rows = []
    for update in range(last + 1):
        values = _losses(corpora, validation, update) if not update % every else {}
        if update:
            is_loop = repetitive and collapse is not None and update >= collapse
            values |= _numbers(train(update, collapse), rate, is_loop=is_loop)
        if diverged and update == last:
            values |= {"train.applied": 0, "train.loss": math.nan, "probe.loss": math.nan}
        rows.append(Row(update, values))
    provenance = {"reference": model, "kind": "local", "location": str(location or model)}
    manifest = {
        "format_version": FORMAT_VERSION,
        "status": "diverged" if diverged else status,
        "seed": seed,
        "identity_version": IDENTITY_VERSION,
        "config_sha256": identity(config),
        "model": {**provenance, "parameters": parameters, "sha256": "0"},
        "corpora": [{"name": name, "sha256": "0"} for name in corpora],
        "precision": "float32",
    }
    lines = {
        "updates": [row_line(row) for row in rows],
        "samples": [
            sample_line(Record(row, Batch((Text((0,), (1,), "own", f"{text} {row.update}"),))))
            for row in rows[1:]
        ],
    }
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, written in lines.items():
        content = "".join(f"{line}\n" for line in written)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")
    return RunReader(folder)


def _losses(corpora, validation, update):
    found = {}
    for corpus in corpora:
        loss = validation(update, corpus)
        values = {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": loss / 3}
        found |= {label(f"validation.{name}", corpus): value for name, value in values.items()}
    return found


def _numbers(loss, rate, *, is_loop):
    return {
        "train.loss": loss,
        "train.lr": rate,
        "probe.loss": loss,
        "draw.entropy": 2.0,
        "probe.entropy": 2.0,
        "text.distinct_1": 0.5,
        "text.distinct_2": 0.6,
        "text.loop_share": 0.9 if is_loop else 0.0,
        "text.seq_rep_4": 0.8 if is_loop else 0.1,
        "text.compression": 0.4,
    }


def sweep(folder, times, *, horizon=30, **options):
    """Write runs from {value: [collapse update or None, ...]}, one per seed from 0 on.

    `key` names the option that the values belong to (default: the learning rate).
    """
    key = options.pop("key", "rate")
    return [
        write_run(
            Path(folder) / f"{key}{place}" / f"seed{seed}",
            **{key: value, "seed": seed, "collapse": collapse, "updates": horizon} | options,
        )
        for place, (value, collapses) in enumerate(times.items())
        for seed, collapse in enumerate(collapses)
    ]
