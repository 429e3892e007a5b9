"""Which sweeps vary what the paper varies, or what the phase diagram shows."""

from collections.abc import Collection

RATE, MODEL = "training.learning_rate", "model"  # dotted configuration keys
LEARNING_RATE, SIZE, PHASE = "learning rate", "size", "phase"  # as the analysis names them

# What runs may differ in, the seed aside, to be such a group; the first that fits is taken.
_VARIES = {
    LEARNING_RATE: {RATE},
    SIZE: {MODEL},
    PHASE: {RATE, "sampling.temperature", "sampling.max_new_tokens"},
}


def group_of(varied: Collection[str]) -> str | None:
    """The group of runs that differ in these keys; None for any other."""
    return next((name for name, keys in _VARIES.items() if keys.issuperset(varied)), None)
