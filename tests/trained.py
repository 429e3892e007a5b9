"""Tiny trainings of transformers' Trainer, with a monitor or without."""

import torch
from transformers import Trainer, TrainingArguments

from conftest import PROSE, byte_tokenizer, tiny_gpt2

TIMES = ("_runtime", "_per_second", "step_time")
QUICK = {"samples": 4, "max_new_tokens": 24, "held_out_tokens": 256, "keep_healthy": False}


def tokenizer():
    made = byte_tokenizer()
    made.pad_token = made.eos_token
    return made


def windows(text=PROSE, length=32):
    ids = tokenizer()(text * 9)["input_ids"]
    parts = [torch.tensor(ids[start : start + length]) for start in range(0, 30 * 7, 7)]
    return [{"input_ids": part, "labels": part} for part in parts]


def arguments(folder, **changes):
    given = {
        "per_device_train_batch_size": 2,
        "max_steps": 6,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 1,
    }
    return TrainingArguments(str(folder), **{**given, **changes})


def train(folder, *callbacks, model=None, data=None, resume=None, **changes):
    """Train a tiny model; the trainer, when it is through."""
    torch.manual_seed(0)
    trainer = Trainer(
        model if model is not None else tiny_gpt2().train(),
        arguments(folder, **changes),
        train_dataset=data or windows(),
        eval_dataset=windows()[:2],
        processing_class=tokenizer(),
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def own(history):
    """What a trainer logged of its own, without times."""
    return [
        {n: v for n, v in e.items() if not n.startswith("collapse/") and not n.endswith(TIMES)}
        for e in history
    ]


def ours(history):
    """What the monitor added to it, by step."""
    found = {}
    for entry in history:
        added = {name: value for name, value in entry.items() if name.startswith("collapse/")}
        found.setdefault(entry["step"], {}).update(added)
    return found
