"""The names of rows as a page tells and sorts them; names that nobody knows come last. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from collapse_lm.measures.names import NAMES, described

COLLAPSE_UPDATE = "collapse_update"  # of a comparison; no name of a row
_COLLAPSE_UPDATE = {
    "title": "collapse update",
    "unit": "updates",
    "meaning": "the first update of a persistent breach of the collapse rule",
    "kind": "count",
}
_TITLES = {
    "train.loss": "train loss",
    "train.grad_norm": "gradient norm",
    "train.lr": "learning rate",
    "base.loss": "loss under the base model",
    "base.log_ratio": "log ratio to the base model",
    "base.kl": "divergence from the base model",
    "draw.entropy": "entropy of the batch",
    "draw.sampling_entropy": "sampling entropy of the batch",
    "draw.top1": "likeliest token, of the batch",
    "probe.loss": "loss of the probe",
    "probe.entropy": "entropy of the probe",
    "probe.sampling_entropy": "sampling entropy of the probe",
    "probe.top1": "likeliest token, of the probe",
    "probe.degenerate_share": "degenerate samples",
    "probe.length": "length of the samples",
    "probe.clipped": "samples cut at the limit",
    "rollouts.length": "length of the rollouts",
    "rollouts.clipped": "rollouts cut at the limit",
    "rollouts.degenerate_share": "degenerate rollouts",
    "rollouts.loop_share": "share of rollouts in a loop",
    "rollouts.seq_rep_4": "repeated 4-grams of rollouts",
    "rollouts.distinct_2": "distinct 2-grams of rollouts",
    "rollouts.distinct_4": "distinct 4-grams of rollouts",
    "rollouts.overlap": "4-grams of the last five steps again",
    "rollouts.pool_distinct_1": "distinct 1-grams of five steps",
    "rollouts.pool_distinct_2": "distinct 2-grams of five steps",
    "rollouts.pool_distinct_4": "distinct 4-grams of five steps",
    "pool.overlap": "4-grams of the last five probes again",
    "pool.distinct_1": "distinct 1-grams of five probes",
    "pool.distinct_2": "distinct 2-grams of five probes",
    "pool.distinct_3": "distinct 3-grams of five probes",
    "pool.distinct_4": "distinct 4-grams of five probes",
    "prefix.kl": "divergence from the base model at prefixes",
    "prefix.kl_reverse": "divergence to the base model at prefixes",
    "prefix.entropy": "entropy at prefixes",
    "prefix.effective_vocabulary": "effective vocabulary at prefixes",
    "prefix.top1": "likeliest token, at prefixes",
    "types.rare_share": "share of rare types",
    "types.zipf_slope": "Zipf slope",
    "dose.rate": "dose: sum of the learning rates",
    "dose.square": "dose: sum of their squares per text",
    "text.distinct_1": "distinct 1-grams",
    "text.distinct_2": "distinct 2-grams",
    "text.distinct_3": "distinct 3-grams",
    "text.distinct_4": "distinct 4-grams",
    "text.seq_rep_4": "repeated 4-grams",
    "text.loop_share": "share in a loop",
    "text.loop_period": "period of the loop",
    "text.compression": "compressed size",
    "validation.loss": "validation loss",
    "validation.change": "change of the validation loss",
    "validation.change_se": "standard error of the change",
    "validation.bits_per_byte": "bits per byte",
    "validation.word_perplexity": "word perplexity",
    "validation.word_perplexity_eos": "word perplexity with ends of lines",
    "ema.loss": "validation loss of the average",
}
# (id, title, names without their labels, in the order in which they are shown)
_PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "loss",
        "Train and validation loss",
        ("train.loss", "validation.loss", "probe.loss", "ema.loss"),
    ),
    (
        "text",
        "Text measures",
        (
            *("text.loop_share", "text.seq_rep_4", "text.distinct_4", "text.distinct_3"),
            *("text.distinct_2", "text.distinct_1", "text.compression"),
        ),
    ),
    (
        "rollouts",
        "Text measures of the rollouts",
        (
            *("rollouts.loop_share", "rollouts.seq_rep_4"),
            *("rollouts.distinct_4", "rollouts.distinct_2"),
        ),
    ),
    (
        "entropy",
        "Entropy",
        (
            *("probe.entropy", "probe.sampling_entropy"),
            *("draw.entropy", "draw.sampling_entropy", "prefix.entropy"),
        ),
    ),
    ("top1", "Probability of the likeliest token", ("probe.top1", "draw.top1", "prefix.top1")),
    ("change", "Change of the validation loss", ("validation.change",)),
    ("base", "Against the base model", ("base.kl", "base.log_ratio", "base.loss", "base")),
    ("prefixes", "Against the base model, at fixed prefixes", ("prefix.kl", "prefix.kl_reverse")),
    ("vocabulary", "Effective vocabulary at prefixes", ("prefix.effective_vocabulary",)),
    ("overlap", "Overlap with the last samples", ("pool.overlap", "rollouts.overlap", "overlap")),
    (
        "pool",
        "Different n-grams of the last five probes",
        (
            *("pool.distinct_4", "pool.distinct_3", "pool.distinct_2", "pool.distinct_1"),
            *("rollouts.pool_distinct_4", "rollouts.pool_distinct_2", "rollouts.pool_distinct_1"),
        ),
    ),
    (
        "degenerate",
        "Degenerate samples of a probe",
        ("probe.degenerate_share", "rollouts.degenerate_share"),
    ),
    ("length", "Length of the samples", ("probe.length", "rollouts.length")),
    ("clipped", "Samples cut at the limit", ("probe.clipped", "rollouts.clipped")),
    ("rare", "Rare types of the last five probes", ("types.rare_share",)),
    ("zipf", "Zipf slope of the last five probes", ("types.zipf_slope",)),
    ("drift", "Drift of the weights", ("drift",)),
    ("bits", "Bits per byte", ("validation.bits_per_byte",)),
    (
        "perplexity",
        "Perplexity",
        (
            *("validation.perplexity", "validation.word_perplexity"),
            "validation.word_perplexity_eos",
        ),
    ),
    ("period", "Period of the loop", ("text.loop_period",)),
    ("gradient", "Gradient norm", ("train.grad_norm",)),
    ("rate", "Learning rate", ("train.lr",)),
    ("dose", "Dose", ("dose.rate",)),
    ("dose-square", "Dose of the second order", ("dose.square",)),
    (
        "seconds",
        "Seconds of an update",
        (
            *("seconds.sample", "seconds.train", "seconds.evaluate", "seconds.probe"),
            *("seconds.judge", "seconds.log_probs"),
        ),
    ),
    ("passes", "Passes through the model", ("draw.forward_passes", "probe.forward_passes")),
    ("counts", "Tokens and steps", ("train.tokens", "train.steps", "validation.tokens")),
)
_HIDDEN = ("validation.change_se", "train.applied")  # a band of another line; told in words


def base_of(name: str) -> str:
    """A name without its label."""
    return name.partition("[")[0]


def label_of(name: str) -> str:
    """The label of a name; empty without one."""
    return name[len(base_of(name)) + 1 : -1] if name.endswith("]") else ""


def title_of(name: str) -> str:
    """A name in words."""
    base, of = base_of(name), label_of(name)
    known = _TITLES.get(base) or " ".join(base.replace("_", " ").split("."))
    return f"{known} ({of})" if of else known


def told_names(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Title, unit, meaning and kind of every name."""
    return {name: _told(name) for name in names}


def with_collapse(told: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The same with the time to collapse, by which runs are compared."""
    return {**told, COLLAPSE_UPDATE: dict(_COLLAPSE_UPDATE)}


def _told(name: str) -> dict[str, str]:
    known = described(name)
    if known is None:
        return {"title": title_of(name), "unit": "", "meaning": "", "kind": "number"}
    meaning = known.meaning.split("; a value per ")[0]
    return {"title": title_of(name), "unit": known.unit, "meaning": meaning, "kind": known.kind}


# Under source own the probe is the batch, and each of these is the other again.
TWINS = {
    "probe.loss": "train.loss",
    "draw.entropy": "probe.entropy",
    "draw.sampling_entropy": "probe.sampling_entropy",
    "draw.top1": "probe.top1",
}


def panels_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """Panels with the names that there are; those that nobody knows by their first part."""
    found: list[dict[str, Any]] = []
    left = [name for name in names if base_of(name) not in _HIDDEN]
    for identity, title, bases in _PANELS:
        mine = [name for base in bases for name in left if _belongs(name, base)]
        if mine:
            found.append({"id": identity, "title": title, "names": mine})
            left = [name for name in left if name not in mine]
    rest: dict[str, list[str]] = {}
    for name in left:
        rest.setdefault(base_of(name).partition(".")[0], []).append(name)
    taken = {panel["id"] for panel in found}
    for first, mine in rest.items():
        identity = f"other-{first}" if first in taken else first
        found.append({"id": identity, "title": _sentence(first), "names": mine})
    return found


def _belongs(name: str, base: str) -> bool:
    """True for a name of this base, or of a whole family (`drift`, which no row has as such)."""
    return base_of(name) == base or (base not in NAMES and name.startswith(f"{base}."))


def _sentence(word: str) -> str:
    words = word.replace("_", " ").strip() or "other"
    return words[:1].upper() + words[1:]
