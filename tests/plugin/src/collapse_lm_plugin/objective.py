"""An objective: stay near the base model, the more so the further away."""

from typing import Literal

from pydantic import Field

from collapse_lm import ObjectiveConfig


class AnchorConfig(ObjectiveConfig):
    """Negative log-likelihood plus a KL divergence to the base model, whose weight grows."""

    kind: Literal["collapse-lm-plugin:anchor"] = "collapse-lm-plugin:anchor"
    rate: float = Field(default=0.1, ge=0)
    """Growth of the weight per nat of divergence seen."""

    def build(self, context):
        return Anchor(self.rate)


class Anchor:
    needs_base = True

    def __init__(self, rate):
        self.rate, self.weight = rate, 0.1

    def __call__(self, chunk):
        base_TV = chunk.base_TV.log_softmax(-1)
        own_TV = chunk.logits_TV.float().log_softmax(-1)
        divergence = (own_TV.exp() * (own_TV - base_TV)).sum()
        loss = chunk.nll + self.weight * divergence
        self.weight += self.rate * float(divergence.detach()) / len(chunk.targets_T)
        return loss

    def state(self):
        return {"weight": self.weight}

    def load(self, state):
        self.weight = state["weight"]
