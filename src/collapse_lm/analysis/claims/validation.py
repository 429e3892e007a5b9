"""Claims on validation losses: they rise, and they do so alike on another corpus."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from collapse_lm._util.printable import printable
from collapse_lm.analysis.claims.verdicts import (
    CONFIDENCE,
    EVERY_UPDATE,
    FEWEST_RUNS,
    FEWEST_SEEDS,
    HALF,
    SEED,
    Claim,
    Finding,
    Statement,
    as_effect,
    decide,
    share_of,
    too_few,
)
from collapse_lm.analysis.levels import describe_levels
from collapse_lm.analysis.outcomes import Measured
from collapse_lm.analysis.stats.trend import Interval, Trend, bootstrap_interval, run_trend, trend

_SENTENCE = "Our observations show that the validation loss increases with each iteration [...]"
_FEW = f"undecided otherwise, and with fewer than {FEWEST_RUNS} runs or {FEWEST_SEEDS} seeds"
_PER_RUN = (
    "Losses of one run are no independent observations: the run is the unit. Bootstrap intervals "
    "over few runs are too short, and have no width where all runs agree. Intervals hold for the "
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
        "that of the one before; mean over runs, bootstrap interval over runs"
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
        "interval; share of runs that end above their start, interval of Clopper and Pearson"
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
        "corpus and on Penn Treebank (the second corpus where that is not among them), mean over "
        "runs with a bootstrap interval; share of runs whose slopes on both have one sign, "
        "interval of Clopper and Pearson"
    ),
    rule=(
        f"supported if the intervals of both lie above {HALF}, not supported if either lies below; "
        f"{_FEW}; not tested with one corpus"
    ),
    limits=(
        f"{_PER_RUN} Two series that both rise correlate whatever their causes; levels of loss are "
        "not compared."
    ),
)


def each_update_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge the literal reading of "increases with each iteration"."""
    found = _trend(runs)
    if found is None:
        return Claim(EACH, Finding("not tested", "no finished run with validation losses"))
    if not is_seen_each_update(runs):
        reason = "not every run was evaluated at each update"
        return Claim(EACH, Finding("not tested", reason, group=group, runs=len(runs)))
    reason = f"the loss rises at {found.rises.value:.1%} of the updates, on average over runs"
    effect = as_effect("mean share of updates at which the loss rises", found.rises)
    verdict = decide((found.rises, EVERY_UPDATE))
    few = too_few(found.rises.runs, _seeds(runs))
    finding = Finding(
        "undecided" if few else verdict,
        f"{few}; {reason}" if few else reason,
        effect,
        group=group,
        runs=found.rises.runs,
        levels=describe_levels(group, runs),
        details={
            "corpus": printable(_first_corpus(runs)),
            "without_trend": len(runs) - found.rises.runs,
        },
    )
    return Claim(EACH, finding)


def trend_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "increases with each iteration" as a trend."""
    found = _trend(runs)
    if found is None:
        return Claim(TREND, Finding("not tested", "no finished run with validation losses"))
    ends = [run.ends_above for run in found.by_run.values() if not math.isnan(run.ends_above)]
    above = share_of(int(sum(ends)), len(ends))
    reason = (
        f"mean rank correlation {found.spearman.value:.3g}; {sum(ends):.0f} of {len(ends)} runs "
        "end above their start"
    )
    few = too_few(len(ends), _seeds(runs))
    finding = Finding(
        "undecided" if few else decide((found.spearman, 0.0), (above, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean rank correlation of update and validation loss", found.spearman),
        group=group,
        runs=found.spearman.runs,
        levels=describe_levels(group, runs),
        details={
            "corpus": printable(_first_corpus(runs)),
            "share_ending_above_start": vars(above),
            "slope_nats_per_update": vars(found.slope),
            "without_trend": len(runs) - len(ends),
        },
    )
    return Claim(TREND, finding)


def alike_claim(group: str, runs: Sequence[Measured]) -> Claim:
    """Judge "the Penn Treebank dataset yields a similar pattern"."""
    first, second = _first_corpus(runs), _second_corpus(runs)
    if not second:
        reason = "the runs were evaluated on one corpus only" if runs else "no finished run"
        return Claim(ALIKE, Finding("not tested", reason, group=group, runs=len(runs)))
    pairs = [(run.validation_loss(first), run.validation_loss(second)) for run in runs]
    correlations = [c for a, b in pairs if not math.isnan(c := _correlation(a, b))]
    slopes = [(run_trend(a).slope, run_trend(b).slope) for a, b in pairs]
    signs = [a * b > 0 for a, b in slopes if not math.isnan(a * b)]
    same, mean = share_of(sum(signs), len(signs)), _mean(correlations)
    names = printable(f"{first} and {second}")
    reason = (
        f"mean rank correlation {mean.value:.3g} between {names}; slopes of one sign in "
        f"{sum(signs)} of {len(signs)} runs"
    )
    few = too_few(len(correlations), _seeds(runs))
    finding = Finding(
        "undecided" if few else decide((mean, HALF), (same, HALF)),
        f"{few}; {reason}" if few else reason,
        as_effect("mean rank correlation of the losses on two corpora", mean),
        group=group,
        runs=mean.runs,
        levels=describe_levels(group, runs),
        details={
            "corpora": printable(f"{first}, {second}"),
            "share_slopes_of_one_sign": vars(same),
        },
    )
    return Claim(ALIKE, finding)


def is_seen_each_update(runs: Sequence[Measured]) -> bool:
    """True where every run was evaluated at each of its updates."""
    corpus = _first_corpus(runs)
    return bool(runs) and all(
        run.outcome.updates + 1 == len(run.validation_loss(corpus)) for run in runs
    )


def _trend(runs: Sequence[Measured]) -> Trend | None:
    corpus = _first_corpus(runs)
    series = {run.outcome.run: run.validation_loss(corpus) for run in runs if corpus}
    return trend(series, seed=SEED, confidence=CONFIDENCE) if series else None


def _first_corpus(runs: Sequence[Measured]) -> str:
    """The first corpus of the first run that has any."""
    return next((run.outcome.corpora[0] for run in runs if run.outcome.corpora), "")


def _second_corpus(runs: Sequence[Measured]) -> str:
    """Penn Treebank if it is there, else the corpus after the first."""
    names = dict.fromkeys(name for run in runs for name in run.outcome.corpora)
    others = [name for name in names if name != _first_corpus(runs)]
    return "ptb" if "ptb" in others else (others[0] if others else "")


def _seeds(runs: Sequence[Measured]) -> int:
    return len({run.outcome.seed for run in runs})


def _correlation(a: dict[int, float], b: dict[int, float]) -> float:
    """Rank correlation over the updates that both have; NaN where it is undefined."""
    both = sorted(a.keys() & b.keys())
    x, y = np.array([a[u] for u in both]), np.array([b[u] for u in both])
    if len(both) < 3 or not np.isfinite([x, y]).all() or not np.ptp(x) or not np.ptp(y):
        return math.nan
    return float(spearmanr(x, y).statistic)


def _mean(values: Sequence[float]) -> Interval:
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0)
    return bootstrap_interval(values, np.mean, CONFIDENCE, seed=SEED)
