"""The collapse rule: a persistent breach, its first update, and what does not count."""

import math

import pytest

from collapse_lm.measures import CollapseRule, Observation, Row, Watch, judge
from collapse_lm.measures.rule import reasons

RULE = CollapseRule(patience=3)


def series(*train_losses, loop_share=0.0, seq_rep_4=0.0):
    return [Observation(u, loop_share, seq_rep_4, x) for u, x in enumerate(train_losses, start=1)]


def test_the_collapse_update_is_the_first_of_the_streak():
    verdict = judge(series(2, 0.05, 2, 0.05, 0.05, 0.05, 2), RULE)
    assert (verdict.collapsed, verdict.collapse_update) == (True, 4)
    assert verdict.reasons == ("train_loss",)


def test_a_shorter_breach_is_censored():
    verdict = judge(series(2, 0.05, 0.05, 2, 0.05, 0.05), RULE)
    assert (verdict.collapsed, verdict.collapse_update) == (False, None)


def test_different_criteria_make_one_streak():
    mixed = [
        Observation(1, 0.5, 0.0, 2.0),
        Observation(2, 0.0, 0.6, 2.0),
        Observation(3, 0.0, 0.0, 0.09),
    ]
    verdict = judge(mixed, RULE)
    assert verdict.collapse_update == 1
    assert verdict.reasons == ("loop_share", "seq_rep_4", "train_loss")


@pytest.mark.parametrize(
    ("observation", "named"),
    [
        (Observation(1, 0.5, 0, 1), ("loop_share",)),
        (Observation(1, 0.4999, 0.5999, 0.1), ()),
        (Observation(1, 0, 0.6, 1), ("seq_rep_4",)),
        (Observation(1, 0, 0, 0.0999), ("train_loss",)),
        (Observation(1, math.nan, math.nan, math.nan), ()),
    ],
)
def test_thresholds(observation, named):
    assert reasons(observation, CollapseRule()) == named


def test_an_empty_series_is_censored():
    assert not judge([], RULE).collapsed


def row(update, loss=None):
    if loss is None:
        return Row(update, {"train.loss": 0.0})
    return Row(
        update, {"probe.loss": loss, "text.loop_share": 0.0, "text.seq_rep_4": 0.0, "train.loss": 9}
    )


def test_only_rows_with_a_probe_are_judged_and_by_the_loss_of_the_probe():
    rows = [row(0), row(1), row(2, 0.05), row(3), row(4, 0.05), row(5), row(6, 0.05)]
    watch = Watch(RULE)
    starts = [(watch.see(one).collapse_update, watch.streak_start)[1] for one in rows]
    assert starts == [None, None, 2, 2, 2, 2, 2]
    assert (watch.verdict.collapse_update, watch.verdict.met) == (2, 6)
    assert judge(rows, RULE) == watch.verdict
    assert not judge([*rows[:6], row(6, 2.0), row(7, 0.05)], RULE).collapsed
