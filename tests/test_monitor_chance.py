"""The monitor does not take for a state what chance, or another length, brings about."""

import random

import pytest

from collapse_lm.config import CollapseRule
from collapse_lm.experiment.base_samples import base_values, pool_levels
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.facts import text_metrics
from collapse_lm.measures.names import Row
from collapse_lm.measures.pool import Pool
from collapse_lm.measures.seen import probe_values
from collapse_lm.monitor import MONITOR_RULE, Monitor
from collapse_lm.monitor.chance import Start, beyond_chance
from collapse_lm.monitor.pooled import common_length, pooled
from collapse_lm.monitor.states import States

from conftest import byte_tokenizer
from monitored import SHORT, becomes, text_frequencies, unigram

SAMPLES, LONGEST = 8, 128


def answer(chance, ends, sticks):
    """Words until it ends, with 3 nats each; with some chance it sticks to one, without a doubt."""
    ids, entropies, is_stuck = [], [], False
    while len(ids) < LONGEST:
        is_stuck = is_stuck or chance.random() < sticks
        ids.append(7 if is_stuck else 10 + int(200 * chance.random() ** 2))
        entropies.append(0.0 if is_stuck else 3.0)
        if not is_stuck and chance.random() < ends:
            break
    log_probs = tuple(-e for e in entropies)
    return Text((0,), tuple(ids), "probe", "x" * len(ids), log_probs, entropies=tuple(entropies))


def verdicts(seed, ends, sticks, probes=30):
    """The states that a monitor enters of a model which stays as it is."""
    chance = random.Random(seed)
    start = [answer(chance, ends, sticks) for _ in range(6 * SAMPLES)]
    length = common_length([text.ids for text in start])
    levels = base_values(start, MONITOR_RULE, SAMPLES)
    levels |= pool_levels([text.ids[:length] for text in start], SAMPLES)
    states, pool, found = States(MONITOR_RULE), Pool(), set()
    rule = beyond_chance(MONITOR_RULE, Start(start, SAMPLES, LONGEST, length, seed))
    states.take_levels(Row(0, levels), rule)
    for step in range(1, probes + 1):
        texts = [answer(chance, ends, sticks) for _ in range(SAMPLES)]
        entropies = [e for text in texts for e in text.entropies]
        values = {
            "probe.entropy": sum(entropies) / len(entropies),
            **text_metrics(Batch(tuple(texts))),
            **probe_values(texts, MONITOR_RULE),
            **pooled(pool, [text.ids for text in texts], length),
        }
        found |= {*states.see(Row(step, values)).entered}
    return found


@pytest.mark.parametrize(("ends", "sticks"), [(0.1, 0.003), (0.1, 0.01), (0.9, 0.0)])
def test_a_model_that_stays_as_it_is_enters_no_state(ends, sticks):
    told = [verdicts(seed, ends, sticks) for seed in range(8)]
    assert told == [set()] * 8


def test_thresholds_are_those_of_the_rule_where_chance_does_not_reach_them():
    chance = random.Random(0)
    start = [answer(chance, 0.0, 0.0) for _ in range(6 * SAMPLES)]
    assert beyond_chance(MONITOR_RULE, Start(start, SAMPLES, LONGEST, LONGEST, 0)) == MONITOR_RULE
    stricter = MONITOR_RULE.model_copy(update={"low_entropy": 0.01, "short": 0.01})
    assert beyond_chance(stricter, Start(start, SAMPLES, LONGEST, LONGEST, 0)) == stricter


def test_thresholds_hold_for_a_probe_of_one_sample_and_for_entropies_of_zero():
    ids = tuple(range(10))
    start = [Text((0,), ids, "probe", "x", (-0.0,) * 10, entropies=(0.0,) * 10)] * 6
    found = beyond_chance(MONITOR_RULE, Start(start, 1, 16, 10, 0))
    CollapseRule(**found.model_dump())  # what a record may hold
    assert found.low_entropy == MONITOR_RULE.low_entropy


def test_answers_that_grow_longer_are_not_poor(tmp_path):
    network = unigram(text_frequencies(0.2))
    monitor = Monitor(byte_tokenizer(), out=tmp_path / "m", **{**SHORT, "held_out": None})
    monitor.start(network)
    becomes(network, text_frequencies(0.001))
    told = [monitor.observe(network, step=step) for step in range(1, 9)]
    assert told[-1].values["probe.length"] > 40
    assert not any(one.shown for one in told)


def shown_by(monitor, observations):
    return [monitor.observe_texts(texts, step) for step, texts in enumerate(observations, 1)]


def lines(chance, count, tokens, words=400):
    return [[int(words * chance.random() ** 2) for _ in range(tokens)] for _ in range(count)]


def test_rollouts_that_grow_or_are_more_are_not_poor(tmp_path):
    chance, monitor = random.Random(1), Monitor(out=tmp_path / "m")
    short = [lines(chance, 4, 12) for _ in range(6)]
    told = shown_by(monitor, [*short, *(lines(chance, 16, 96) for _ in range(8))])
    assert not any(one.shown for one in told)
    assert told[-1].values["rollouts.pool_distinct_1"] > 0.4


def test_prompts_that_ask_for_little_are_no_shrinking(tmp_path):
    chance, monitor = random.Random(2), Monitor(out=tmp_path / "m")
    tokens = [40, 3, 60, 3, 3, 40, 3, 3, 50, 3, 3, 3, 40]
    told = shown_by(monitor, [lines(chance, 4, number) for number in tokens])
    assert not any(one.entered for one in told)
    later = [monitor.observe_texts(lines(chance, 4, 3), step) for step in range(14, 24)]
    assert "shrink" in later[-1].entered


def test_prompts_that_differ_in_variety_are_no_mode(tmp_path):
    chance, monitor = random.Random(3), Monitor(out=tmp_path / "m")
    words = [4, 400, 4, 400, 400, 4, *[4, 4, 4, 4, 4, 4, 400] * 4]
    told = shown_by(monitor, [lines(chance, 4, 12, number) for number in words])
    assert not any(one.entered for one in told)
