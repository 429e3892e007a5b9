"""Which runs the figures and the table of the paper need, at two scales.

`paper` is GPT-2, WikiText-2 and PTB at the settings of Table 2; `embedded` asks the same
questions of models and texts that come as packages, within the reach of two processors.
Figures 2 and 4 and Table 1 show the same runs. No torch.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from collapse_lm.config import LENGTH
from collapse_lm.pretraining.recipe import Recipe
from collapse_lm.sweeps import SweepSpec
from collapse_lm.sweeps.groups import LEARNING_RATE, MODEL, RATE, SIZE

LADDER = Recipe().sizes  # width x depth of the embedded models of Figure 3
_EVERY = "evaluation.every"
_KEEP_NONE = {"run.checkpoints_kept": 0}  # of the embedded runs
# The median dose at the collapse was 1.2e-3 (2026-11-24): each rate is watched for more than
# that again, and for ten updates at least. Late ones may not count as watched (claims/watched.py).
_WATCHED = {"collapse.aftermath": 10, "collapse.aftermath_dose": 1.5e-3}
# From that of Table 1 up. At the highest, evaluations five updates apart are too far in dose.
_EMBEDDED_RATES = ((2e-5, 5), (5e-5, 5), (1e-4, 5), (3e-4, 2))  # rate, updates per evaluation
_HUB = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")


class Target(StrEnum):
    """What can be reproduced."""

    table1 = "table1"
    fig2 = "fig2"
    fig3 = "fig3"
    fig4 = "fig4"
    all = "all"


class Scale(StrEnum):
    """With which models and texts."""

    embedded = "embedded"
    paper = "paper"


def groups_of(target: Target) -> tuple[str, ...]:
    """The groups of runs that a target shows."""
    if target is Target.all:
        return (LEARNING_RATE, SIZE)
    return (SIZE,) if target is Target.fig3 else (LEARNING_RATE,)


def sweeps_for(
    target: Target, scale: Scale, models: Path | None, corpora: Sequence[str]
) -> dict[str, SweepSpec]:
    """Return the sweep of every group that a target needs.

    Args:
        target: figure, table or all.
        scale: embedded or paper.
        models: folder that holds the models of Figure 3 (and, at paper scale, of the
            others); None takes them from the hub.
        corpora: further corpora for the embedded learning rates (Figure 4).
    """
    make = {
        (Scale.embedded, LEARNING_RATE): lambda: _embedded_rates(corpora),
        (Scale.embedded, SIZE): lambda: _embedded_sizes(models or Path("ladder")),
        (Scale.paper, LEARNING_RATE): lambda: _paper_rates(models),
        (Scale.paper, SIZE): lambda: _paper_sizes(models),
    }
    return {group: make[scale, group]() for group in groups_of(target)}


def _embedded_rates(corpora: Sequence[str]) -> SweepSpec:
    return SweepSpec(
        base="quickstart",
        set={
            LENGTH: 250,
            "evaluation.corpora": ["sotu", "sotu-19th", *corpora],
            "evaluation.tokens": 1024,
            **_WATCHED,
            **_KEEP_NONE,
        },
        runs=[{RATE: rate, _EVERY: every} for rate, every in _EMBEDDED_RATES],
        seeds=[0, 1, 2, 3, 4],
    )


def _embedded_sizes(ladder: Path) -> SweepSpec:
    """At the rate of Table 1, where every size takes long enough to tell them apart."""
    return SweepSpec(
        base="quickstart",
        set={
            LENGTH: 600,
            RATE: 2e-5,
            "evaluation.context": 256,
            _EVERY: 1,
            "collapse.aftermath": 5,
            **_KEEP_NONE,
        },
        grid={MODEL: [str((ladder / size).resolve()) for size in LADDER]},
        seeds=[0, 1, 2, 3, 4],
    )


def _paper_rates(models: Path | None) -> SweepSpec:
    """Rates around the two that are known: 2e-5 of Table 1 and 4e-5 of the published code."""
    return SweepSpec(
        base="paper",
        set={MODEL: _model(models, "gpt2"), **_WATCHED},
        grid={RATE: [1e-5, 2e-5, 4e-5, 1e-4]},
        seeds=[0, 1, 2, 3, 4],
    )


def _paper_sizes(models: Path | None) -> SweepSpec:
    return SweepSpec(
        base="paper",
        grid={MODEL: [_model(models, name) for name in _HUB]},
        seeds=[0, 1, 2, 3, 4],
    )


def _model(models: Path | None, name: str) -> str:
    return name if models is None else str((models / name).resolve())
