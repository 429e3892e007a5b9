"""How a run ended: in one sentence and three numbers, no more than its record says. Pure."""

import math
from collections.abc import Sequence

from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.names import label
from collapse_lm.report.page.columns import Columns
from collapse_lm.report.page.feed import RunFeed

_UNITS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_ENDED = ("finished", "diverged")


def sentence(feed: RunFeed) -> str:
    """The verdict on a run: how it ended, when, by which rule, at what cost.

    A record that was made by other means than a run (an audit) brings its own.
    """
    if isinstance(own := feed.manifest.get("verdict"), str):
        return own
    collapse = feed.verdict.collapse_update
    told = _outcome(feed) if collapse is None else _collapse(feed, collapse)
    return " ".join(part for part in (told, _cost(feed, collapse)) if part)


def _outcome(feed: RunFeed) -> str:
    """Of a run without a collapse."""
    at, status = feed.update, feed.status
    if _has_diverged(feed.columns):
        return f"Diverged at update {at}: a loss or gradient was not finite. No collapse before."
    if status == "finished":
        limit = " (its limit of time)" if feed.summary()["limit"] == "run.max_minutes" else ""
        return f"No collapse in {_updates(at)}{limit}; the run is censored there."
    begun = {
        "running": f"Running: {_updates(at)} so far, no collapse.",
        "interrupted": f"Interrupted after {_updates(at)}, without a collapse so far.",
        "killed": f"Its process ended without a word after {_updates(at)}; no collapse so far.",
        "failed": f"Failed after {_updates(at)}, without a collapse so far.",
    }
    return begun.get(status, f"{status}: {_updates(at)}, no collapse.")


def _collapse(feed: RunFeed, collapse: int) -> str:
    rule, patience = feed.rule, feed.rule.patience
    unit = "samples" if is_every_update_judged(feed) else "probes"
    what = criterion(feed.columns, collapse, feed.verdict.reasons, rule)
    row = f"the first of {_UNITS.get(patience, patience)} degenerate {unit} in a row"
    if patience == 1:
        row = f"a degenerate {unit[:-1]}"
    if feed.verdict.from_the_start:
        told = (
            f"Degenerate before any training: {what} in what the base model itself drew, {row}, "
            "so update 1 is no time to collapse."
        )
    else:
        told = f"Collapsed at update {collapse}: {what}, {row}."
    return f"{told} {_afterwards(feed)}".strip()


def _afterwards(feed: RunFeed) -> str:
    """What became of a run that had collapsed; nothing where it simply ended."""
    if _has_diverged(feed.columns):
        return f"It diverged at update {feed.update}."
    return {
        "running": f"It is running, at update {feed.update}.",
        "interrupted": f"It was interrupted after update {feed.update}.",
        "killed": f"Its process ended without a word after update {feed.update}.",
        "failed": f"It failed after update {feed.update}.",
    }.get(feed.status, "")


def criterion(columns: Columns, update: int, fired: Sequence[str], rule: CollapseRule) -> str:
    """By which criterion a probe is degenerate, in words with its number."""
    loop, repeated, loss = (
        columns.at_or_after(name, update)
        for name in ("text.loop_share", "text.seq_rep_4", "probe.loss")
    )
    share = columns.at_or_after("probe.degenerate_share", update)
    told = {
        "loop_share": (loop >= rule.loop_share, f"{loop:.0%} of the sample lies in a loop"),
        "seq_rep_4": (repeated >= rule.seq_rep_4, f"{repeated:.0%} of its 4-grams are repetitions"),
        "train_loss": (
            loss < rule.train_loss,
            f"its loss under the model that drew it is {loss:.3f} nats/token",
        ),
        "degenerate_share": (
            share >= rule.degenerate_share,
            f"{share:.0%} of its samples are degenerate",
        ),
    }
    found = [words for name, (is_so, words) in told.items() if is_so and name in fired]
    return found[0].replace("%", " %") if found else "the collapse rule was met"


def _cost(feed: RunFeed, collapse: int | None) -> str:
    """What it did to the validation loss of the first corpus."""
    if not feed.corpora:
        return ""
    corpus = feed.corpora[0]
    name = label("validation.loss", corpus)
    losses = list(feed.columns.known(name))
    if not losses or losses[0][0] != 0 or len(losses) < 2:
        return ""
    start, end = losses[0][1], losses[-1][1]
    at = feed.columns.at_or_after(name, collapse) if collapse is not None else math.nan
    middle = f"{at:.3f} at the collapse and " if math.isfinite(at) and at != end else ""
    return (
        f"Validation loss on {corpus} {_moved(start, end)} from {start:.3f} (base model) to "
        f"{middle}{end:.3f} nats/token at {_moment(feed, losses[-1][0])}."
    )


def _moment(feed: RunFeed, update: int) -> str:
    return "the end" if feed.status in _ENDED and update == feed.update else f"update {update}"


def _moved(start: float, end: float) -> str:
    if f"{start:.3f}" == f"{end:.3f}":
        return "went"
    return "rose" if end > start else "fell"


def _has_diverged(columns: Columns) -> bool:
    return 0 in columns.values.get("train.applied", ())


def is_every_update_judged(feed: RunFeed) -> bool:
    """True where each update so far has a probe."""
    return sum(1 for _ in feed.columns.known("text.loop_share")) == feed.update


def _updates(count: int) -> str:
    return "1 update" if count == 1 else f"{count:,} updates"


# --- three numbers -----------------------------------------------------------------------------


def three_numbers(feed: RunFeed, human: dict[str, float]) -> list[dict[str, str]]:
    """Collapse, cost and text, each with what it compares with."""
    return [_collapse_number(feed), _loss_number(feed), _text_number(feed, human)]


def _number(label: str, value: str, reference: str) -> dict[str, str]:
    return {"label": label, "value": value, "reference": reference}


def _collapse_number(feed: RunFeed) -> dict[str, str]:
    collapse, base = feed.verdict.collapse_update, feed.base_is_degenerate
    value = f"none in {_updates(feed.update)}" if collapse is None else f"update {collapse}"
    if feed.verdict.from_the_start:
        value = "before training"
    elif states := feed.manifest.get("states"):  # of texts and trainings of others
        value = ", ".join(f"{state} at {at}" for state, at in states.items())
    told = {True: "degenerate", False: "not degenerate", None: "not judged"}[base]
    return _number("Collapse", value, f"base model's own sample: {told}")


def _loss_number(feed: RunFeed) -> dict[str, str]:
    columns = feed.columns
    if feed.corpora:
        name = label("validation.loss", feed.corpora[0])
        start = columns.values[name][0] if columns.updates and columns.updates[0] == 0 else None
        base = "not evaluated" if start is None else f"{start:.3f} nats/token"
        title = f"Validation loss at the end ({feed.corpora[0]})"
        return _number(title, shown(columns.last(name), 3), f"base model {base}")
    first = shown(columns.first("train.loss"), 3)
    last = shown(columns.last("train.loss"), 3)
    return _number("Train loss at the end", last, f"first update {first} nats/token")


def _text_number(feed: RunFeed, human: dict[str, float]) -> dict[str, str]:
    name = "text.distinct_4"
    words = "Distinct 4-grams at the end"
    if name not in feed.columns.values and "text.loop_share" in feed.columns.values:
        name, words = "text.loop_share", "Share in a loop at the end"
    base = f"base model {shown(of_base_model(feed.columns, name), 2)}"
    told = f"human text {human[name]:.2f}, {base}" if name in human else base
    return _number(words, shown(feed.columns.last(name), 2), told)


def of_base_model(columns: Columns, name: str) -> float:
    """What a row tells of the base model; NaN where it tells nothing.

    It drew at update 1; in a record that is no run's its samples stand in row 0, and so do
    losses on real text and other measures of the model after an update in any.
    """
    is_drawn = name.startswith(("text.", "probe.", "draw.", "base."))
    at = columns.base_at if is_drawn else 0
    return next((value for update, value in columns.known(name) if update == at), math.nan)


def shown(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
