"""The rules by which a segment is learned, and the values that are tried for them. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from collapse_lm.errors import UserError

RATES = tuple(float(f"{digit}e{power}") for power in range(-7, 1) for digit in (1, 3))
DECAYS = (0.0, 0.002, 0.02, 0.2)
EPSILONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Rule:
    """A rule with its values.

    Attributes:
        name: adamw, sgd or krause.
        learning_rate: of every step.
        decay: λ of krause; None of any other.
        epsilon: ε of krause, likewise.
    """

    name: str
    learning_rate: float
    decay: float | None = None
    epsilon: float | None = None

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
            optimizer |= {"decay": self.decay, "epsilon": self.epsilon, "corpus": statistics}
        plain = {"weight_decay": 0.0, "grad_clip": None, "optimizer": optimizer}
        return {"learning_rate": self.learning_rate, **plain}

    def values(self) -> dict[str, float]:
        """What is tuned, by name."""
        more = {"decay": self.decay, "epsilon": self.epsilon}
        known = {name: value for name, value in more.items() if value is not None}
        return {"learning_rate": self.learning_rate, **known}


RULES = {
    rule.name: rule
    for rule in (Rule("adamw", 1e-5), Rule("sgd", 1e-2), Rule("krause", 1e-5, 0.02, 1e-3))
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
    """Return a rule with the values of least loss: the rate, then epsilon, then the decay.

    Each epsilon has the rate that is best with it: the search for that begins in proportion, as a
    larger epsilon makes shorter steps.

    Args:
        rule: with the values that the search begins with.
        loss: of a text, in nats per token; NaN where the run diverged.
    """
    once = cache(loss)

    def of_best_rate(one: Rule) -> Rule:
        tried = (one.learning_rate, lambda value: once(replace(one, learning_rate=value)))
        return replace(one, learning_rate=climb(RATES, *tried))

    found = of_best_rate(rule)
    if found.epsilon is not None:
        best = {found.epsilon: found}

        def of(epsilon: float) -> Rule:
            if epsilon not in best:
                best[epsilon] = of_best_rate(_with_epsilon(found, epsilon))
            return best[epsilon]

        found = of(climb(EPSILONS, found.epsilon, lambda value: once(of(value))))
    if found.decay is not None:
        decay = climb(DECAYS, found.decay, lambda value: once(replace(found, decay=value)))
        found = replace(found, decay=decay)
    return found


def _with_epsilon(rule: Rule, epsilon: float) -> Rule:
    """The rule with another epsilon, and the rate of the grid that is nearest in proportion."""
    assert rule.epsilon is not None
    wanted = rule.learning_rate * epsilon / rule.epsilon
    rate = min(RATES, key=lambda value: abs(math.log(value / wanted)))
    return replace(rule, epsilon=epsilon, learning_rate=rate)


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
