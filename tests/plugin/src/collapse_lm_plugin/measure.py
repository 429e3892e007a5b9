"""A measure: how many different tokens the probes of a run have shown so far."""

from typing import Literal

import torch

from collapse_lm import MeasureConfig


class VocabularyConfig(MeasureConfig):
    """Different tokens in all probes so far."""

    kind: Literal["collapse-lm-plugin:vocabulary"] = "collapse-lm-plugin:vocabulary"

    def build(self, context):
        return Vocabulary(self.every, context.model.network.config.vocab_size)


class Vocabulary:
    def __init__(self, every, size):
        self.every, self.seen = every, torch.zeros(size, dtype=torch.int64)

    def __call__(self, at, batch, probe):
        for text in probe.texts:
            self.seen[list(text.ids)] = 1
        return {"vocabulary.seen": int(self.seen.sum())}

    def state(self):
        return {"seen": self.seen}

    def load(self, state):
        self.seen = state["seen"]
