"""What the numbers of the monitor mean that no run has; `names` has the others. Pure."""

from collapse_lm.measures.model_names import Name

_TEXTS = "of the texts that the trainer sampled itself"
_START = "of the first six observations of rollouts, which stand for the start"


def _number(unit: str, meaning: str) -> Name:
    return Name("number", unit, meaning, since=2)


MONITOR_NAMES: dict[str, Name] = {
    "probe.clipped": _number(
        "",
        "share of the samples of the probe that were cut at the longest length (of the monitor, "
        "where a sample ends at EOS)",
    ),
    "base_samples.clipped": _number("", "as probe.clipped, of these samples"),
    "rollouts.count": Name("count", "", f"number {_TEXTS} at the step (monitor)", since=2),
    "rollouts.length": _number("tokens", f"mean length {_TEXTS}"),
    "rollouts.clipped": _number("", "share of them that were cut at the limit, where this is told"),
    "rollouts.loss": _number(
        "nats/token",
        "mean negative log-likelihood of them under the model that drew them, where this is told",
    ),
    "rollouts.loop_share": _number("", "as text.loop_share, of them"),
    "rollouts.loop_period": Name("count", "tokens", "as text.loop_period, of them", since=2),
    "rollouts.seq_rep_4": _number("", "as text.seq_rep_4, of them"),
    "rollouts.degenerate_share": _number("", "share of them that are degenerate, each by itself"),
    **{
        f"rollouts.distinct_{n}": _number("", f"as text.distinct_{n}, of them")
        for n in (1, 2, 3, 4)
    },
    "rollouts.compression": _number("", "as text.compression, of them"),
    "rollouts.overlap": _number(
        "",
        "share of their different 4-grams that stood in any of the five observations before; "
        "absent at the first, and, as pool.overlap of a monitor, of texts with fewer than 64 "
        "4-grams. This and the next four, from the seventh observation on: of as many texts as the "
        "first six have at least, each cut to their mean length",
    ),
    **{
        f"rollouts.pool_distinct_{n}": _number(
            "", f"different/total {n}-grams of the last five observations together"
        )
        for n in (1, 2, 3, 4)
    },
    "rollouts.pool_length": _number(
        "tokens", "mean of rollouts.length over the last five observations: what shrinks"
    ),
    "rollouts.start_length": _number("tokens", f"mean length {_START}; once, with the sixth"),
    "rollouts.start_degenerate_share": _number("", "share of these that are degenerate, likewise"),
    "rollouts.start_overlap": _number("", "mean rollouts.overlap of these, likewise"),
    **{
        f"rollouts.start_distinct_{n}": _number(
            "", f"mean rollouts.pool_distinct_{n} of these, likewise"
        )
        for n in (1, 2, 3, 4)
    },
}
