"""The rules by which a segment is learned, and the values that are tried for them. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from collapse_lm.errors import UserError

RATES = tuple(float(f"{digit}e{power}") for power in range(-7, 1) for digit in (1, 3))
DECAYS = (0.0, 0.002, 0.02, 0.2)


@dataclass(frozen=True)
class Rule:
    """A rule with its values.

    Attributes:
        name: adamw, sgd or krause.
        learning_rate: of every step.
        decay: λ of krause; None of any other.
    """

    name: str
    learning_rate: float
    decay: float | None = None

    def training(self, statistics: str) -> dict[str, Any]:
        """The section `training` of its run.

        AdamW is the paper's, with weight decay and clip; the others have neither.

        Args:
            statistics: text of the gradient statistics of krause.
        """
        if self.name == "adamw":
            return {"learning_rate": self.learning_rate}
        optimizer: dict[str, Any] = {"kind": self.name}
        if self.decay is not None:
            optimizer |= {"decay": self.decay, "corpus": statistics}
        plain = {"weight_decay": 0.0, "grad_clip": None, "optimizer": optimizer}
        return {"learning_rate": self.learning_rate, **plain}

    def values(self) -> dict[str, float]:
        """What is tuned, by name."""
        decay = {} if self.decay is None else {"decay": self.decay}
        return {"learning_rate": self.learning_rate, **decay}


RULES = {
    rule.name: rule for rule in (Rule("adamw", 1e-5), Rule("sgd", 1e-2), Rule("krause", 1e-5, 0.02))
}


def rules_of(names: str | Sequence[str]) -> list[Rule]:
    """The rules of some names, with the values that they have untuned.

    Raises:
        UserError: for another name, one that is there twice, and none.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    if not given or not set(given) <= {*RULES} or len({*given}) < len(given):
        expected = f"some of {', '.join(RULES)}, each once"
        raise UserError.single("--rule", ",".join(given) or "nothing", expected)
    return [RULES[name] for name in given]


def tuned(rule: Rule, loss: Callable[[Rule], float]) -> Rule:
    """Return a rule with the values of least loss: the rate first, then the decay.

    Args:
        rule: with the values that the search begins with.
        loss: of a text, in nats per token; NaN where the run diverged.
    """
    once = cache(loss)
    rate = climb(RATES, rule.learning_rate, lambda value: once(replace(rule, learning_rate=value)))
    found = replace(rule, learning_rate=rate)
    if rule.decay is None:
        return found
    decay = climb(DECAYS, rule.decay, lambda value: once(replace(found, decay=value)))
    return replace(found, decay=decay)


def climb(values: Sequence[float], start: float, loss: Callable[[float], float]) -> float:
    """Return the value of a grid that is better than its neighbours, from a start on.

    Each value is tried once; NaN counts as infinity, and of equals the first that was tried wins.

    Args:
        values: in order.
        start: one of them.
        loss: of a value.
    """
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if place not in known:
            found = loss(values[place])
            known[place] = math.inf if math.isnan(found) else found
        return known[place]

    best = values.index(start)
    while True:
        around = [p for p in (best, best + 1, best - 1) if 0 <= p < len(values)]
        better = min(around, key=at)
        if at(better) >= at(best):
            return values[best]
        best = better
