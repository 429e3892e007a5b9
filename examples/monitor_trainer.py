"""Three lines in a script of transformers' Trainer, and what they tell.

python examples/monitor_trainer.py

A model is trained on texts that it draws itself, in rounds, as in self-distillation without a
filter. The monitor warns, gives its verdict and ends the training. Takes some minutes on two
CPU cores, with nothing to download.
"""

import logging
import sys

from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

import collapse_lm
from collapse_lm.monitor import CollapseMonitor


class OwnTexts(IterableDataset):
    """A round of texts is drawn from the model as it is, handed out, and drawn anew."""

    def __init__(self, model, texts=8, tokens=64):
        self.model, self.texts, self.tokens = model, texts, tokens

    def __iter__(self):
        seed = 0
        while True:
            seed += 1
            settings = {"samples": self.texts, "max_new_tokens": self.tokens, "temperature": 0.8}
            drawn = collapse_lm.sample(self.model, seed=seed, **settings)
            for text in drawn.texts:
                ids = [*text.prompt, *text.ids]
                yield {"input_ids": ids, "labels": ids}


def main(reference="smollm2-135m", steps=100, rate=1e-4, out=None, **settings):
    learner = collapse_lm.load_model(reference)
    defaults = {"samples": 4, "max_new_tokens": 64, "budget": 0.5, "on_collapse": "stop"}
    monitor = CollapseMonitor(learner.tokenizer, out=out, **{**defaults, **settings})
    arguments = TrainingArguments(
        "runs/trainer",
        max_steps=steps,
        learning_rate=rate,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(
        learner.network, arguments, train_dataset=OwnTexts(learner), callbacks=[monitor]
    )
    trainer.train()
    return monitor, trainer.state


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    monitor, state = main(*sys.argv[1:])
    print(f"ended at step {state.global_step}; look at it: collapse-lm report {monitor.path}")
