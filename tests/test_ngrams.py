"""n-grams: counts and smoothing against their definitions and a published example."""

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest

from collapse_lm import rng
from collapse_lm.ngrams.cache import cache_log_probs
from collapse_lm.ngrams.counts import Counts, Texts
from collapse_lm.ngrams.kneser_ney import FALLBACK, KneserNey, discounts_of
from collapse_lm.ngrams.mixture import mixed, tuned

MARK = "<s>"


def drawn_texts(texts=40, length=30, tokens=90, seed=0):
    """Texts of tokens by Zipf's law."""
    numbers = rng.numpy_stream(seed, "sample")
    return [(numbers.zipf(1.5, length) % tokens).tolist() for _ in range(texts)]


class ByDefinition:
    """The formula of the module, with dictionaries."""

    def __init__(self, texts, vocabulary, order):
        self.vocabulary, self.order = vocabulary, order
        marked = [(MARK, *text) for text in texts]
        raw = [
            Counter(t[i : i + n] for t in marked for i in range(len(t) - n + 1))
            for n in range(1, order + 1)
        ]
        before = [Counter(gram[1:] for gram in raw[n]) for n in range(1, order)]
        self.a = [
            {g: raw[n][g] if n == order - 1 or g[0] == MARK else before[n][g] for g in raw[n]}
            for n in range(order)
        ]
        self.a[0].pop((MARK,))

    def discount(self, n, count):
        have = Counter(self.a[n - 1].values())
        y = have[1] / (have[1] + 2 * have[2])
        closed = [k - (k + 1) * y * have[k + 1] / have[k] for k in (1, 2, 3)]
        return (closed if min(closed) > 0 else (0.5, 1, 1.5))[min(count, 3) - 1]

    def p(self, token, context):
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        n = len(context) + 1
        after = {g: c for g, c in self.a[n - 1].items() if g[:-1] == context}
        lower = self.p(token, context[1:]) if context else 1 / self.vocabulary
        if not after:
            return lower
        total = sum(after.values())
        passed_on = sum(self.discount(n, count) for count in after.values()) / total
        count = after.get((*context, token), 0)
        here = max(count - self.discount(n, count), 0) / total if count else 0
        return here + passed_on * lower


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_are_those_of_the_definition(order):
    texts, vocabulary = drawn_texts(), 95  # tokens 90 to 94 do not occur
    unseen = [*drawn_texts(2, 12, seed=1), texts[3][:6], [1, 1, 1, 92, 1, 1], [94], []]
    reference = ByDefinition(texts, vocabulary, order)
    model = KneserNey.of(Texts.of(texts, vocabulary), order)
    assert order not in (2, 3) or FALLBACK not in model.discounts.values()
    found = np.exp(model.log_probs(Texts.of(unseen, vocabulary)))
    expected = [
        reference.p(token, (MARK, *text[:place]))
        for text in unseen
        for place, token in enumerate(text)
    ]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [(), (1,), (1, 2, 1, 1), (92, 92), (1, 93), (3, 92, 1)])
def test_they_sum_to_1_over_the_vocabulary(order, context):
    model = KneserNey.of(Texts.of(drawn_texts(), 95), order)
    rows = Texts.of([[*context, token] for token in range(95)], 95)
    last = np.exp(model.log_probs(rows)).reshape(95, -1)[:, -1]
    assert last.sum() == pytest.approx(1, abs=1e-12)
    assert last.min() > 0


# The text, the estimates and the unigram discounts of lmplz -o 2, as printed in
# github.com/kpu/kenlm/issues/405 (2026-09-19). The discounts are given, since lmplz counts the
# last unigram wrongly, as is told there; those of bigrams are the closed form's.
LINES = ("I went to", "I go to", "You went to", "You go to", "Joe went to", "Joe go to")
LINES += ("Anna went ski", "Anna went ski")
UNIGRAMS = {"</s>": -1.1249387, "I": -1.0579919, "went": -0.6726411, "to": -1.1249387}
UNIGRAMS |= {"go": -0.82390875, "Anna": -1.0579919, "ski": -1.0579919, "<unk>": -1.30103}
BACKOFF = {"<s>": -0.059768215, "I": -0.5228788, "went": -0.022929981, "to": -0.30103, "go": 0.0}
BIGRAMS = {("to", "</s>"): -0.26962152, ("ski", "</s>"): -0.7123581, ("<s>", "I"): -0.9649993}
BIGRAMS |= {("I", "went"): -0.383262, ("Joe", "went"): -0.383262}


def test_estimates_are_those_that_were_published():
    names = [*sorted({word for line in LINES for word in line.split()}), "</s>", "<unk>"]
    ids = {name: place for place, name in enumerate(names)}
    texts = Texts.of([[*(ids[w] for w in line.split()), ids["</s>"]] for line in LINES], len(ids))
    counts = Counts.of(texts, 2)
    model = KneserNey(counts, 2, {1: (0.4, 1.6, 1.4)})
    assert model.discounts[2] == pytest.approx((0.3, 2 - 0.9 * 2 / 7, 3))

    def log10(before, word):
        words = [] if before == MARK else [ids[before]]
        return model.log_probs(Texts.of([[*words, ids[word]]], len(ids)))[-1] / math.log(10)

    for (before, word), expected in BIGRAMS.items():
        assert log10(before, word) == pytest.approx(expected, abs=1e-6)
    seen = {pair for line in LINES for pair in itertools.pairwise([MARK, *line.split(), "</s>"])}
    pairs = [pair for pair in itertools.product(BACKOFF, UNIGRAMS) if pair not in seen]
    assert len(pairs) > 25
    for before, word in pairs:  # unseen: the weight of the context times the unigram
        expected = BACKOFF[before] + UNIGRAMS[word]
        assert log10(before, word) == pytest.approx(expected, abs=1e-6), (before, word)


def test_discounts_are_the_closed_form_or_what_stands_for_it():
    y = 10 / (10 + 2 * 4)
    counts = np.repeat([1, 2, 3, 4, 7, 0], [10, 4, 2, 1, 3, 5])
    expected = 1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2
    assert discounts_of(counts) == pytest.approx(expected)
    for few in ([1, 1, 1], [2, 3], [1, 2, 3, 3, 3, 3, 3]):  # the last has a discount below 0
        assert discounts_of(np.array(few)) == FALLBACK


def test_no_n_gram_spans_two_texts():
    apart = KneserNey.of(Texts.of([[0, 1], [2, 3]] * 3, 5), 2)
    joined = KneserNey.of(Texts.of([[0, 1, 2, 3]] * 3, 5), 2)
    pair = Texts.of([[1, 2]], 5)
    assert joined.log_probs(pair)[-1] > apart.log_probs(pair)[-1] + 0.5


def test_a_context_that_was_never_gone_on_with_says_nothing():
    one, two = (KneserNey.of(Texts.of([[0, 1], [3]], 5), order) for order in (2, 3))
    after = Texts.of([[3, 0], [1, 1]], 5)  # both contexts ended their texts
    same = [one.log_probs(after)[place] for place in (1, 3)]
    assert two.log_probs(after)[[1, 3]] == pytest.approx(same, abs=0.3)
    assert np.isfinite(two.log_probs(after)).all()


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="0 to 4"):
        Texts.of([[1, 5]], 5)
    with pytest.raises(ValueError, match="order"):
        KneserNey.of(Texts.of([[1]], 5), 0)
    with pytest.raises(ValueError, match="another vocabulary"):
        KneserNey.of(Texts.of([[1]], 5), 1).log_probs(Texts.of([[1]], 6))
    nothing = KneserNey.of(Texts.of([], 4), 3)
    assert np.exp(nothing.log_probs(Texts.of([[0, 1, 2]], 4))) == pytest.approx([0.25] * 3)


# --- mixtures and the cache ---------------------------------------------------------------------


def test_all_weight_on_one_model_is_that_model_to_the_last_digit():
    log_probs = np.array([[-0.1, -800.0, -1e-17], [-3.0, -np.inf, -2.0]])
    assert mixed(log_probs, np.array([1.0, 0.0])).tolist() == log_probs[0].tolist()
    found = mixed(log_probs, np.array([0.25, 0.75]))
    assert found[0] == pytest.approx(np.log(0.25 * np.exp(-0.1) + 0.75 * np.exp(-3)))
    assert found[1] == pytest.approx(-800 + np.log(0.25))


def test_weights_are_the_likeliest():
    numbers = rng.numpy_stream(3, "sample")
    log_probs = np.log(numbers.random((3, 400)) * np.array([[1.0], [0.9], [0.2]]))
    weights = tuned(log_probs)
    assert weights.sum() == pytest.approx(1)
    best = mixed(log_probs, weights).mean()
    grid = np.linspace(0, 1, 41)
    tried = [
        mixed(log_probs, np.array([a, b, max(0, 1 - a - b)])).mean()
        for a, b in itertools.product(grid, grid)
        if a + b <= 1
    ]
    assert best >= max(tried) - 1e-9
    assert best == pytest.approx(max(tried), abs=1e-3)
    assert tuned(np.array([[-1.0, -2.0], [-1.5, -np.inf]]))[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
def test_the_cache_is_counted_as_its_definition_says(size):
    ids = rng.numpy_stream(5, "sample").integers(4, size=40).tolist()
    found = np.exp(cache_log_probs(ids, size))
    assert np.isnan(found[:, 0]).all()
    for place in range(1, len(ids)):
        cached = ids[max(0, place - size) : place]
        after = [b for a, b in itertools.pairwise(cached) if a == ids[place - 1]]
        unigram = cached.count(ids[place]) / len(cached)
        bigram = after.count(ids[place]) / len(after) if after else unigram
        assert found[:, place] == pytest.approx([unigram, bigram])


def test_a_million_tokens_take_seconds():
    numbers = rng.numpy_stream(0, "sample")
    ids = np.minimum(numbers.zipf(1.3, 1_100_000) - 1, 49_151)
    begin = time.process_time()
    model = KneserNey.of(Texts.of(np.split(ids[:1_000_000], 1000), 49_152), 5)
    model.log_probs(Texts.of([ids[1_000_000:]], 49_152))
    assert time.process_time() - begin < 10
