"""The monitor in a real training: does it warn, stop and keep a healthy model, and at what cost?

    python docs/scripts/measure_monitor.py --arm reference      # an arm, under ten minutes each
    python docs/scripts/measure_monitor.py --arm budget50       # ... and the others of ARMS
    python docs/scripts/measure_monitor.py --render             # the table of docs/monitor.md

A model is trained by transformers' Trainer on texts that it draws itself, in rounds: a few texts
are drawn from the weights as they are, a step is taken on each of them, and again. The arms differ
in how often the monitor looks and in what is trained on. Each arm writes its part of
docs/results/monitor/summary.json and of arms.csv, so that they can be measured one by one, on a
machine that does nothing else. Rules, written before the first run:

    stops      with budget 0.5 the training ends at most two probes after the onset that a probe
               at every step shows
    keeps      the healthy checkpoint of that run is at most two probes older than the onset
    sound      the same loop on real text shows no state but drift
    still      at a learning rate of 0 no state is shown in at least 20 probes
    cost       with budget 0.05 the monitor takes at most 6 % of the time
    memory     after ten probes, forty more take less than 5 % more memory

The trainer asks for a text before the step that is taken on the one before it, so that the first
text of a round is drawn one step early.
"""

import argparse
import csv
import gc
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from monitor_rows import Look, looks, without_drift
from torch.utils.data import IterableDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

import collapse_lm
from collapse_lm import LanguageModel
from collapse_lm.config import load_config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.machine.processor import processor
from collapse_lm.monitor import CollapseMonitor
from collapse_lm.rundir import RunReader

from marked import put_between

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "monitor"
PAGE = ROOT / "docs" / "monitor.md"
BEGIN, END = "<!-- arms: begin -->\n", "<!-- arms: end -->"
HELD_OUT = 1024  # tokens of the held-out text that a probe scores
COLUMNS = ("arm", "step", "shown", "entered", "validation_change", "entropy", "degenerate_share")


@dataclass(frozen=True)
class Arm:
    """A run to measure.

    Attributes:
        what: for the table.
        settings: of the monitor, beside those that all arms share.
        texts: own or real.
        rate: share of the learning rate.
        steps: share of the steps.
    """

    what: str
    settings: Mapping[str, Any]
    texts: str = "own"
    rate: float = 1.0
    steps: float = 1.0


ARMS = {
    "reference": Arm("own samples, a probe at every step", {"every": 1}),
    "budget50": Arm("own samples, budget 0.5, stop", {"budget": 0.5, "on_collapse": "stop"}),
    "budget05": Arm(
        "own samples, budget 0.05, stop", {"budget": 0.05, "on_collapse": "stop"}, steps=4
    ),
    "real": Arm("real text, budget 0.5", {"budget": 0.5}, texts="real"),
    "real05": Arm("real text, budget 0.05, longer", {"budget": 0.05}, texts="real", steps=10),
    "still": Arm(
        "learning rate 0, a probe at every step", {"every": 1}, texts="real", rate=0.0, steps=1.5
    ),
}


@dataclass(frozen=True)
class Scale:
    """Sizes that all arms of a measurement share; they stand in its summary."""

    model: str
    rate: float
    steps: int
    tokens: int
    samples: int
    round: int
    batch: int


class Rounds(IterableDataset):
    """Texts of a model that learns from them: a round is drawn, handed out, and drawn anew."""

    def __init__(self, model: LanguageModel, scale: Scale, texts: str) -> None:
        self._model, self._scale, self._texts = model, scale, texts

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        """One text after the other, for ever."""
        rows = self._own() if self._texts == "own" else self._real()
        yield from ({"input_ids": ids, "labels": ids} for ids in rows)

    def _own(self) -> Iterator[list[int]]:
        count, drawn = self._scale.round * self._scale.batch, 0
        while True:
            drawn += 1
            settings = {"samples": count, "max_new_tokens": self._scale.tokens, "temperature": 0.8}
            batch = collapse_lm.sample(self._model, seed=drawn, **settings)
            yield from ([*text.prompt, *text.ids] for text in batch.texts)

    def _real(self) -> Iterator[list[int]]:
        text = load_corpus("sotu-train").text
        ids = self._model.tokenizer(text[:200_000], verbose=False)["input_ids"]
        size = self._scale.tokens
        while True:
            for first in range(0, len(ids) - size, size):
                yield [self._model.start_token, *ids[first : first + size]]


class Memory(TrainerCallback):
    """Memory of this process after each step, in MB (Linux)."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Look, when everybody else has done his work."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        self.used.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def measure(name: str, scale: Scale) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train one arm; return its part of the summary, and its probes."""
    arm, memory = ARMS[name], Memory()
    torch.manual_seed(0)
    learner = collapse_lm.load_model(scale.model)
    with tempfile.TemporaryDirectory() as folder:
        monitor = CollapseMonitor(
            learner.tokenizer,
            out=Path(folder) / "record",
            samples=scale.samples,
            max_new_tokens=scale.tokens,
            held_out_tokens=HELD_OUT,
            **arm.settings,
        )
        trainer = Trainer(
            learner.network,
            args=_arguments(scale, arm, folder),
            train_dataset=Rounds(learner, scale, arm.texts),
            callbacks=[monitor, memory],
        )
        trainer.remove_callback(PrinterCallback)
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
        reader = RunReader(monitor.path)
        seen = list(looks(reader.updates(), load_config(monitor.path).collapse))
        told = _told(seen) | {
            "steps": trainer.state.global_step,
            "asked_steps": round(scale.steps * arm.steps),
            "healthy_step": reader.summary()["healthy_step"],
            "seconds": round(seconds, 1),
            "seconds_share": round(reader.summary()["seconds_share"], 4),
            "memory_mb": [round(mb) for mb in memory.used],
        }
    return told, [_line(name, look) for look in seen]


def _arguments(scale: Scale, arm: Arm, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        max_steps=round(scale.steps * arm.steps),
        learning_rate=scale.rate * arm.rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=scale.batch,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )


def _told(seen: Sequence[Look]) -> dict[str, Any]:
    """When which state was shown first, entered, and by which probe that was known."""
    first, onset, known = dict[str, int](), dict[str, int](), dict[str, int]()
    for look in seen:
        for state in look.shown:
            first.setdefault(state, look.row.update)
        for state, since in look.within.items():
            onset.setdefault(state, since)
            known.setdefault(state, look.row.update)
    probes = [look.row.update for look in seen]
    return {"probes": probes, "first_shown": first, "onset": onset, "verdict": known}


def _line(arm: str, look: Look) -> dict[str, Any]:
    row = look.row
    changes = row.labelled("validation.change")
    return {
        "arm": arm,
        "step": row.update,
        "shown": " ".join(look.shown),
        "entered": " ".join(look.within),
        "validation_change": f"{next(iter(changes.values()), float('nan')):.4f}",
        "entropy": f"{row.get('probe.entropy'):.4f}",
        "degenerate_share": f"{row.get('probe.degenerate_share'):.3f}",
    }


def keep(
    folder: Path, name: str, scale: Scale, told: dict[str, Any], lines: list[dict[str, Any]]
) -> None:
    """Put an arm into the results in the place of an earlier measurement of it."""
    folder.mkdir(parents=True, exist_ok=True)
    place, table = folder / "summary.json", folder / "arms.csv"
    summary = json.loads(place.read_text("utf-8")) if place.exists() else {}
    sizes = {key: getattr(scale, key) for key in Scale.__dataclass_fields__}
    if summary.get("scale") != sizes:  # arms of another scale do not compare
        summary, table_lines = {"scale": sizes, "arms": {}}, []
    else:
        with table.open(newline="", encoding="utf-8") as file:
            table_lines = [line for line in csv.DictReader(file) if line["arm"] != name]
    here = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }
    summary["arms"][name] = told | here
    place.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*table_lines, *lines])


def rendered(summary: Mapping[str, Any]) -> str:
    """The lines between the markers of the page."""
    arms, scale = summary["arms"], summary["scale"]
    one = next(iter(arms.values()))
    lines = [
        "",
        f"Measured on {one['date']} with `{scale['model']}` on {one['processor']}, "
        f"{one['threads']} threads: learning rate {scale['rate']:g}, texts of {scale['tokens']} "
        f"tokens, {scale['batch']} a step, drawn {scale['round'] * scale['batch']} at a time; "
        f"{scale['samples']} samples a probe.",
        "",
        "| arm | steps | probes | first shown | onset | verdict at | healthy model | time |",
        "| --- | ---: | ---: | --- | --- | --- | ---: | ---: |",
    ]
    lines += [_arm_line(ARMS[name].what, arms[name]) for name in ARMS if name in arms]
    lines += ["", "| what was to be shown | found | held |", "| --- | --- | --- |"]
    lines += [
        f"| {what} | {found} | {'yes' if held else 'no'} |" for what, found, held in rules(arms)
    ]
    return "\n".join([*lines, "", ""])


def _arm_line(what: str, told: Mapping[str, Any]) -> str:
    states = without_drift(told["onset"])
    cells = [
        what,
        f"{told['steps']} of {told['asked_steps']}",
        str(len(told["probes"])),
        _by_state(told["first_shown"]),
        ", ".join(f"{state} {told['onset'][state]}" for state in states) or "none",
        ", ".join(f"{state} {told['verdict'][state]}" for state in states) or "none",
        "none" if told["healthy_step"] is None else str(told["healthy_step"]),
        f"{told['seconds_share']:.1%}",
    ]
    return "| " + " | ".join(cells) + " |"


def _by_state(steps: Mapping[str, int]) -> str:
    return ", ".join(f"{state} {steps[state]}" for state in without_drift(steps)) or "none"


def rules(arms: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """What was to be shown, as far as its arms were measured: words, finding, held or not."""
    if {"reference", "budget50"} <= arms.keys():
        yield from _against_reference(arms["reference"], arms["budget50"])
    if {"reference", "budget05"} <= arms.keys():
        yield _delay(arms["reference"], arms["budget05"])
    for name, what in (("real", "real text: nothing but drift"), ("still", "rate 0: nothing")):
        if name in arms:
            shown = sorted(arms[name]["first_shown"])
            allowed = {"drift"} if name == "real" else set()
            enough = name == "real" or len(arms[name]["probes"]) >= 20
            found = f"{', '.join(shown) or 'nothing'} in {len(arms[name]['probes'])} probes"
            yield what, found, enough and set(shown) <= allowed
    for name in sorted({"budget05", "real05"} & arms.keys()):
        share = arms[name]["seconds_share"]
        yield "budget 0.05: at most 6 % of the time", f"{share:.1%}", share <= 0.06
    if "still" in arms and len(arms["still"]["memory_mb"]) >= 50:
        early, late = arms["still"]["memory_mb"][9], arms["still"]["memory_mb"][49]
        yield (
            "50 probes: memory flat",
            f"{early} MB after 10, {late} MB after 50",
            late < 1.05 * early,
        )


def _against_reference(reference: Mapping[str, Any], stopped: Mapping[str, Any]) -> Iterator[Any]:
    onset = _first_onset(reference)
    last = stopped["probes"][-1] if stopped["probes"] else 0
    after = sum(onset <= step <= last for step in stopped["probes"])
    is_stopped = stopped["steps"] < stopped["asked_steps"]
    yield (
        "budget 0.5: stopped at most two probes after the onset",
        f"onset {onset:g}, stopped at {stopped['steps']}, probe {after} from the onset on",
        is_stopped and after <= 2,
    )
    healthy = stopped["healthy_step"]
    since = sum((healthy or 0) < step < onset for step in stopped["probes"])
    yield (
        "its healthy model is at most two probes older than the onset",
        f"of step {healthy}, {since} probes between",
        healthy is not None and since < 2,
    )


def _delay(reference: Mapping[str, Any], slow: Mapping[str, Any]) -> tuple[str, str, bool]:
    onset, known = _first_onset(reference), without_drift(slow["verdict"])
    if not known:
        return "budget 0.05: the delay", f"no verdict within {slow['steps']} steps", False
    told = min(slow["verdict"][state] for state in known)
    return "budget 0.05: the delay", f"verdict {told - onset:g} steps after the onset", True


def _first_onset(told: Mapping[str, Any]) -> float:
    return min((told["onset"][s] for s in without_drift(told["onset"])), default=float("inf"))


def main() -> None:
    """Measure an arm, or render the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64, help="of a text, and of a sample")
    parser.add_argument("--samples", type=int, default=4, help="of a probe")
    parser.add_argument("--round", type=int, default=4, help="steps of a round")
    parser.add_argument("--batch", type=int, default=2, help="texts of a step")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name, is_rendered, folder = (options.pop(key) for key in ("arm", "render", "results"))
    if name:
        scale = Scale(**options)
        told, lines = measure(name, scale)
        keep(folder, name, scale, told, lines)
        print(json.dumps({k: v for k, v in told.items() if k != "memory_mb"}))
    if is_rendered:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        put_between(PAGE, BEGIN, END, rendered(summary))


if __name__ == "__main__":
    main()
