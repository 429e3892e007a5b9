"""The live rules of microsoft/post-training-toolkit's DiagnosticsCallback, written out as data.

Repository https://github.com/microsoft/post-training-toolkit at commit COMMIT (version 0.2.0 in
its pyproject.toml; PyPI has 0.0.1 only). Names, fields, windows and bounds are those of its
post_training_toolkit/models/heuristics.py, heuristics/builtin/*/*.yaml and
integrations/trl.py; the code here is our own. Left out are rules that read what no trainer of
TRL logs under any name (rewards of refusals, cosines to a reference, win rates, value heads), and
those of trainers that the comparison has no series of.

The callback reads a trainer's log through a table of names (`READS`). Some of TRL's numbers are
not in it: then the rules on them are never asked. `MENDED` is the table as it would have to be.
`compare_monitors.py check` runs the toolkit's own code on the same series and compares.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

COMMIT = "7ab985521a548dd56252e8e9411a77c68fc46501"
INTERVAL = 10  # steps between two looks at the history (`live_warning_interval`)
HISTORY = 200  # logged rows that are looked at, the newest (`_max_history_size`)
LEAST = 10  # rows without which it does not look
STOPS = "high"  # severity that stops training under stop_on_critical=True
WARNS = ("medium", "high")

# The toolkit's field -> the key of TRL's log that it is read from, by trainer.
READS = {
    "sft": {"sft_loss": "loss"},
    "grpo": {"grpo_loss": "loss", "reward_mean": "reward", "kl": "kl", "entropy": "entropy"},
}
_MENDED = {
    "sft": {"entropy": "entropy", "grad_norm": "grad_norm"},
    "grpo": {
        "output_length_mean": "completions/mean_length",
        "completion_length": "completions/mean_length",
        "truncation_rate": "completions/clipped_ratio",
        "reward_std": "reward_std",
        "group_reward_std": "reward_std",
        "grad_norm": "grad_norm",
    },
}
MENDED = {trainer: names | _MENDED[trainer] for trainer, names in READS.items()}
# What its rules ask for and TRL logs under no name: nothing fills these.
UNLOGGED = ("repetition_rate", "empty_response_rate", "response_diversity", "perplexity")

# Asked by the callback itself, and not by the toolkit's `run_heuristics`.
OF_THE_CALLBACK = ("loss_over_limit",)
# A rule that is silent where another one fires.
UNLESS = {"kl_above_target": "kl_instability", "grpo_entropy_drop": "grpo_entropy_collapse"}
# Findings of its that say what another one says.
SAID_TWICE = ("yaml_grpo_group_reward_collapse",)

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """One rule of the toolkit.

    Attributes:
        name: of its finding.
        severity: low, medium or high.
        trainer: the one it is asked of; all for every trainer.
        form: what it computes, by name in FORMS.
        fields: the toolkit's names of what it reads; without all of them it is not asked.
        bounds: windows, counts and thresholds, in the order of the form's parameters.
    """

    name: str
    severity: str
    trainer: str
    form: str
    fields: tuple[str, ...]
    bounds: tuple[float, ...]


def _rule(name: str, severity: str, trainer: str, form: str, fields: str, *bounds: float) -> Rule:
    return Rule(name, severity, trainer, form, tuple(fields.split()), bounds)


RULES = (
    _rule("loss_over_limit", "high", "sft", "ever_above", "sft_loss", 100),
    _rule("kl_instability", "high", "all", "ever_above", "kl", 0.3),
    _rule("kl_above_target", "medium", "all", "ever_above", "kl", 0.12),
    _rule("kl_volatility", "medium", "all", "moves", "kl", 5, 2, 0.05),
    _rule("yaml_kl_divergence_high", "high", "grpo", "mean_above", "kl", 20, 30, 0.3),
    _rule("grpo_kl_divergence", "high", "grpo", "ever_above", "kl", 0.3),
    _rule("instability_hotspot", "high", "all", "restless", "reward_mean kl", 30, 2.0),
    _rule("instability_hotspot", "medium", "all", "restless", "reward_mean kl", 30, 1.0),
    _rule("reward_hacking_suspected", "high", "all", "outruns", "reward_mean kl", 50, 0.005, 3.0),
    _rule("reward_model_imbalance", "medium", "all", "both_high", "reward_mean kl", 50, 20, 0.2),
    _rule("mode_collapse_entropy", "high", "all", "mean_below", "entropy", 30, 31, 1.0),
    _rule("mode_collapse_entropy", "medium", "all", "falls", "entropy", 30, 31, 0.5),
    _rule("grpo_entropy_collapse", "high", "grpo", "mean_below", "entropy", 30, 30, 0.1),
    _rule("grpo_entropy_drop", "medium", "grpo", "falls", "entropy", 30, 30, 0.5),
    _rule("grpo_loss_divergence", "high", "grpo", "diverges", "grpo_loss", 30, 0.001, 0.5),
    _rule("sft_loss_plateau", "low", "sft", "flat", "sft_loss", 50, 0.0001),
    _rule("length_collapse", "high", "all", "falls", "output_length_mean", 30, 1, 0.35),
    _rule("length_collapse", "medium", "all", "falls", "output_length_mean", 30, 1, 0.2),
    _rule(
        "mode_collapse_length_variance", "high", "all", "steadies", "output_length_mean", 30, 0.2
    ),
    _rule("grpo_length_drift", "medium", "grpo", "shifts", "completion_length", 30, 60, 0.3),
    _rule(
        "grpo_reward_length_correlation",
        "high",
        "grpo",
        "goes_with",
        "reward_mean completion_length",
        50,
        0.8,
    ),
    _rule(
        "grpo_reward_length_correlation",
        "medium",
        "grpo",
        "goes_with",
        "reward_mean completion_length",
        50,
        0.6,
    ),
    _rule(
        "response_truncation_rate_high",
        "medium",
        "all",
        "mean_above",
        "truncation_rate",
        20,
        30,
        0.3,
    ),
    _rule("grpo_reward_collapse", "high", "grpo", "mean_below", "group_reward_std", 20, 20, 0.01),
    _rule("reward_variance_spike", "high", "all", "swings", "reward_std reward_mean", 10, 50, 3.75),
    _rule(
        "reward_variance_spike", "medium", "all", "swings", "reward_std reward_mean", 10, 50, 2.5
    ),
    _rule("yaml_reward_variance_spike", "high", "grpo", "spikes", "reward_std", 20, 50, 2.5),
    _rule("gradient_explosion", "high", "all", "last_above", "grad_norm", 50, 10),
    _rule("gradient_vanishing", "medium", "all", "last_below", "grad_norm", 50, 0.01),
    _rule("gradient_instability", "medium", "all", "scatters", "grad_norm", 50, 3),
)


def findings(
    log: Sequence[Mapping[str, float]], trainer: str, names: Mapping[str, str]
) -> Iterator[tuple[int, Rule]]:
    """What the callback would find in a log of one row per step, look after look.

    Args:
        log: rows of the trainer's log in order, each with `step`.
        trainer: sft or grpo.
        names: the toolkit's field by TRL's key, such as READS["grpo"].

    Yields:
        (step, rule), where a rule fires; as often as it does.
    """
    for seen in looks(log):
        columns = {
            field: np.array([row[key] for row in seen], dtype=float)
            for field, key in names.items()
            if all(key in row for row in seen)
        }
        asked = (rule for rule in RULES if rule.trainer in ("all", trainer))
        found = [rule for rule in asked if fires(rule, columns)]
        firing = {rule.name for rule in found}
        for rule in found:
            if UNLESS.get(rule.name) not in firing:
                yield int(seen[-1]["step"]), rule


def looks(log: Sequence[Mapping[str, float]]) -> Iterator[Sequence[Mapping[str, float]]]:
    """The rows that the callback looks at, each time that it does."""
    for end, row in enumerate(log, start=1):
        if row["step"] % INTERVAL == 0 and end >= LEAST:
            yield log[max(0, end - HISTORY) : end]


def fires(rule: Rule, columns: Columns) -> bool:
    """True where a rule finds something in the columns that it reads, and has all of them."""
    if not set(rule.fields) <= columns.keys():
        return False
    return bool(FORMS[rule.form](*(columns[name] for name in rule.fields), *rule.bounds))


def _mean_above(x, window, least, bound):
    return len(x) >= least and x[-window:].mean() > bound


def _mean_below(x, window, least, bound):
    return len(x) >= least and x[-window:].mean() < bound


def _ever_above(x, bound):
    return (x > bound).any()


def _fall(x, window):
    first, last = x[:window].mean(), x[-window:].mean()
    return (first - last) / first if first > 0 else -math.inf


def _falls(x, window, least, share):
    return len(x) >= least and _fall(x, window) > share


def _shifts(x, window, least, share):
    return len(x) >= least and x[:window].mean() > 0 and abs(_fall(x, window)) > share


def _rolling(x, window, least, of):
    """Of each row what `of` says of the last `window` rows; NaN before there are `least`."""
    parts = [x[max(0, end - window) : end] for end in range(1, len(x) + 1)]
    return np.array([of(part) if len(part) >= least else math.nan for part in parts])


def _spread(x):
    return x.std(ddof=1) if len(x) > 1 else math.nan


def _moves(x, window, least, bound):
    steps = np.abs(_rolling(np.diff(x), window, least, np.mean))
    return (steps > bound).any()


def _restless(x, y, window, bound):
    """Squares of two standardised series, averaged: of any two series 2 on the whole."""
    both = sum(((one - one.mean()) / (_spread(one) + 1e-8)) ** 2 for one in (x, y))
    rolled = _rolling(both, window, max(2, window // 2), np.mean)
    most = np.nanmax(rolled) if np.isfinite(rolled).any() else 0.0
    return most >= bound


def _slope(x):
    return linregress(np.arange(len(x)), x).slope


def _outruns(reward, kl, window, least, ratio):
    if len(reward) < window:
        return False
    up, away = _slope(reward[-window:]), _slope(kl[-window:])
    return up > 0 and away > least and away / (abs(up) + 1e-8) > ratio


def _both_high(reward, kl, window, least, bound):
    usual = _rolling(reward, window, least, np.mean) + _rolling(reward, window, least, _spread)
    return ((reward > usual) & (kl > bound)).any()


def _diverges(x, window, slope, share):
    if len(x) < 2 * window:
        return False
    first, last = x[:window].mean(), x[-window:].mean()
    is_rising = last > first and _slope(x[-window:]) > slope
    return is_rising and (last - first) / (abs(first) + 1e-8) > share


def _flat(x, window, slope):
    return len(x) >= window and abs(_slope(x[-window:])) < slope


def _steadies(x, window, share):
    before, now = _spread(x[:window]), _spread(x[-window:])
    return len(x) > 2 * window and before > 1.0 and now < before * share


def _goes_with(x, y, window, bound):
    x, y = x[-window:], y[-window:]
    if len(x) < window or _spread(x) < 1e-8 or _spread(y) < 1e-8:
        return False
    return abs(np.corrcoef(x, y)[0, 1]) > bound


def _swings(spreads, rewards, short, long, bound):
    x = spreads if spreads.max() != 0 else np.nan_to_num(_rolling(rewards, 5, 3, _spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _rolling(x, short, short // 2, _spread) / _rolling(x, long, long // 2, _spread)
    return (ratio[np.isfinite(ratio)] > bound).any()


def _spikes(x, window, least, factor):
    if len(x) < least:
        return False
    before = x[:-5][-window:].mean()
    return before != 0 and x[-5:].max() >= before * factor


def _first(x, window):
    return x[: min(window, len(x) // 3)]


def _last_above(x, window, factor):
    return len(x) >= window and 0 < _first(x, window).mean() * factor < x[-1]


def _last_below(x, window, factor):
    return len(x) >= window and x[-1] < _first(x, window).mean() * factor


def _scatters(x, window, factor):
    return len(x) >= window and 0 < _spread(_first(x, window)) * factor < _spread(x[-window:])


FORMS: Mapping[str, Callable[..., bool]] = {
    name[1:]: form
    for name, form in globals().items()
    if name.startswith("_") and name[1:] in {rule.form for rule in RULES}
}
