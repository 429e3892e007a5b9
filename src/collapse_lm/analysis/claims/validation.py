"""Claims on validation losses: they rise, and they do so alike on another corpus."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from collapse_lm._util.printable import printable
from collapse_lm.analysis.claims.scope import PENN_TREEBANK
from collapse_lm.analysis.claims.units import UNIT, Units, units_of
from collapse_lm.analysis.claims.verdicts import (
    CONFIDENCE,
    EVERY_UPDATE,
    FEWEST_SEEDS,
    FEWEST_UNITS,
    HALF,
    SEED,
    Claim,
    Finding,
    Statement,
    as_effect,
    decide,
)
from collapse_lm.analysis.levels import describe_levels
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.trend import Interval, Trend, bootstrap_interval, run_trend, trend

_SENTENCE = "Our observations show that the validation loss increases with each iteration [...]"
_FEW = f"undecided otherwise, and with fewer than {FEWEST_UNITS} units or {FEWEST_SEEDS} seeds"
_PER_RUN = (
    "Losses of one run are no independent observations, and seeds of one model are no second "
    "model. Bootstrap intervals over few units are too short, and have no width where all runs "
    "agree. Intervals hold for the "
    "windows that were evaluated, not for all text. The runs differ in their learning rate and "
    "share random numbers where they share a seed, so they are no sample of one population."
)

EACH = Statement(
    id="validation-loss-rises-every-update",
    section="3",
    sentence=_SENTENCE,
    supports="literally: from each evaluation to the next the validation loss rises",
    test=(
        "share of the evaluated updates of a run at which the loss on the first corpus is above "
        f"that of the one before; mean over runs, bootstrap interval over units; {UNIT}"
    ),
    rule=(
        f"supported if the interval of the mean share lies above {EVERY_UPDATE}, not supported if "
        f"below; {_FEW}; not tested where evaluations lie further apart than one update, which "
        "hides single falls"
    ),
    limits=_PER_RUN,
)
TREND = Statement(
    id="validation-loss-rises",
    section="3",
    sentence=_SENTENCE,
    supports="as a trend: later losses tend to be higher, and the last is above the first",
    test=(
        "rank correlation (Spearman) of update and loss per run, mean over runs with a bootstrap "
        "interval over units; share of runs that end above their start, interval of Clopper and "
        f"Pearson; {UNIT}"
    ),
    rule=(
        f"supported if the interval of the correlation lies above 0 and that of the share above "
        f"{HALF}, not supported if either lies below; {_FEW}"
    ),
    limits=f"{_PER_RUN} A trend over a whole run says nothing of its form: a peak is not excluded.",
)
ALIKE = Statement(
    id="other-corpus-alike",
    section="A.3",
    sentence=(
        "the Penn Treebank dataset yields a similar pattern, suggesting that our observations are "
        "not exclusive to a single dataset"
    ),
    supports="within a run, the losses on two corpora rise and fall together",
    test=(
        "rank correlation (Spearman) over the updates of a run between the losses on the first "
        "other corpus and on Penn Treebank, mean over runs with a bootstrap interval over units; "
        f"share of runs whose slopes on both have one sign, interval of Clopper and Pearson; {UNIT}"
    ),
    rule=(
        f"supported if the intervals of both lie above {HALF}, not supported if either lies below; "
        f"{_FEW}; not tested without Penn Treebank and another corpus"
    ),
    limits=(
        f"{_PER_RUN} Two series that both rise correlate whatever their causes, so that "
        '"not supported" asks for a loss that falls on one of them; how far they rise may differ '
        "(the median ratio of the rises is among the details)."
    ),
)


def each_update_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge the literal reading of "increases with each iteration"."""
    found = _trend(group, runs)
    if found is None:
        return Claim(EACH, Finding("not tested", "no finished run with validation losses"))
    if not is_seen_each_update(runs):
        reason = "not every run was evaluated at each update"
        return Claim(EACH, Finding("not tested", reason, group=group, runs=len(runs)))
    reason = f"the loss rises at {found.rises.value:.1%} of the updates, on average over runs"
    units = units_of(group, _with_trend(found, runs))
    few = units.too_few()
    finding = Finding(
        "undecided" if few else decide((found.rises, EVERY_UPDATE)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean share of updates at which the loss rises", found.rises),
        group=group,
        runs=found.rises.runs,
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "corpus": printable(_first_corpus(runs)),
            "without_trend": len(runs) - found.rises.runs,
        },
        reachable=units.reachable(HALF),
    )
    return Claim(EACH, finding)


def trend_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "increases with each iteration" as a trend."""
    found = _trend(group, runs)
    if found is None:
        return Claim(TREND, Finding("not tested", "no finished run with validation losses"))
    known = _with_trend(found, runs)
    units = units_of(group, known)
    ends = int(sum(found.by_run[run.outcome.run].ends_above for run in known))
    above, few = units.share(ends), units.too_few()
    reason = (
        f"mean rank correlation {found.spearman.value:.3g}; {ends} of {len(known)} runs end above "
        "their start"
    )
    finding = Finding(
        "undecided" if few else decide((found.spearman, 0.0), (above, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean rank correlation of update and validation loss", found.spearman),
        group=group,
        runs=found.spearman.runs,
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "corpus": printable(_first_corpus(runs)),
            "share_ending_above_start": vars(above),
            "slope_nats_per_update": vars(found.slope),
            "without_trend": len(runs) - len(known),
        },
        reachable=units.reachable(HALF),
    )
    return Claim(TREND, finding)


def alike_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "the Penn Treebank dataset yields a similar pattern"."""
    first, second = _other_corpus(runs), PENN_TREEBANK
    reason = _why_not_alike(runs)
    if reason:
        return Claim(ALIKE, Finding("not tested", reason, group=group, runs=len(runs)))
    pairs = [(run, run.validation_loss(first), run.validation_loss(second)) for run in runs]
    related = [(run, c) for run, a, b in pairs if not math.isnan(c := _correlation(a, b))]
    slopes = [(run, run_trend(a).slope * run_trend(b).slope) for run, a, b in pairs]
    signs = [(run, product > 0) for run, product in slopes if not math.isnan(product)]
    units, alike = units_of(group, [run for run, _ in related]), sum(sign for _, sign in signs)
    same = units_of(group, [run for run, _ in signs]).share(alike)
    mean, few = _mean([c for _, c in related], units), units.too_few()
    reason = (
        f"mean rank correlation {mean.value:.3g} between {printable(f'{first} and {second}')}; "
        f"slopes of one sign in {alike} of {len(signs)} runs"
    )
    finding = Finding(
        "undecided" if few else decide((mean, HALF), (same, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean rank correlation of the losses on two corpora", mean),
        group=group,
        runs=mean.runs,
        levels=describe_levels(group, runs),
        details={
            **units.details(),
            "corpora": printable(f"{first}, {second}"),
            "share_slopes_of_one_sign": vars(same),
            "median_ratio_of_the_rises": _ratio_of_rises([(a, b) for _, a, b in pairs]),
        },
        reachable=units.reachable(HALF),
    )
    return Claim(ALIKE, finding)


def is_seen_each_update(runs: Sequence[Measured]) -> bool:
    """True where every run was evaluated at each of its updates."""
    corpus = _first_corpus(runs)
    return bool(runs) and all(
        run.outcome.updates + 1 == len(run.validation_loss(corpus)) for run in runs
    )


def _trend(group: str, runs: Sequence[Measured]) -> Trend | None:
    corpus = _first_corpus(runs)
    series = {run.outcome.run: run.validation_loss(corpus) for run in runs if corpus}
    units = dict(zip((run.outcome.run for run in runs), units_of(group, runs).labels, strict=True))
    return trend(series, seed=SEED, units=units, confidence=CONFIDENCE) if series else None


def _with_trend(found: Trend, runs: Sequence[Measured]) -> list[Measured]:
    return [run for run in runs if not math.isnan(found.by_run[run.outcome.run].ends_above)]


def _first_corpus(runs: Sequence[Measured]) -> str:
    """The first corpus of the first run that has any."""
    return next((run.outcome.corpora[0] for run in runs if run.outcome.corpora), "")


def _other_corpus(runs: Sequence[Measured]) -> str:
    """The first corpus that is not Penn Treebank."""
    names = (name for run in runs for name in run.outcome.corpora)
    return next((name for name in names if name != PENN_TREEBANK), "")


def _why_not_alike(runs: Sequence[Measured]) -> str:
    if not runs:
        return "no finished run"
    if not any(PENN_TREEBANK in run.outcome.corpora for run in runs):
        return "no run was evaluated on Penn Treebank (ptb)"
    return "" if _other_corpus(runs) else "the runs were evaluated on one corpus only"


def _correlation(a: dict[int, float], b: dict[int, float]) -> float:
    """Rank correlation over the updates that both have; NaN where it is undefined."""
    both = sorted(a.keys() & b.keys())
    x, y = np.array([a[u] for u in both]), np.array([b[u] for u in both])
    if len(both) < 3 or not np.isfinite([x, y]).all() or not np.ptp(x) or not np.ptp(y):
        return math.nan
    return float(spearmanr(x, y).statistic)


def _ratio_of_rises(pairs: Sequence[tuple[dict[int, float], dict[int, float]]]) -> float:
    """Median over runs: the rise from start to end on the second corpus over that on the first."""
    rises = [[series[max(series)] - series[min(series)] for series in pair] for pair in pairs]
    ratios = [second / first for first, second in rises if first]
    return float(np.median(ratios)) if ratios else math.nan


def _mean(values: Sequence[float], units: Units) -> Interval:
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0)
    return bootstrap_interval(values, np.mean, CONFIDENCE, seed=SEED, units=units.labels)
