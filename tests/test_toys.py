"""Toys: models whose answers are known try sampler, learner, sources, measures and rule."""

import importlib.util
import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm
from test_parts import numbers

import collapse_lm
from collapse_lm import UserError, load_config, load_model, rng
from collapse_lm.config.handing import Handed, hand_over
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.experiment.build import prepare
from collapse_lm.loop import self_train
from collapse_lm.measures import judge
from collapse_lm.models.availability import require_model
from collapse_lm.toys.generations import Accumulated, heterozygosity, moments
from collapse_lm.toys.learners import GaussianLikelihood, MultinomialLikelihood
from collapse_lm.toys.names import Toy, parse
from collapse_lm.toys.reference import probabilities, text_of
from collapse_lm.toys.theory import adam_drift, drawn_from, mean_field_dose
from collapse_lm.toys.trials import passage, settings, trial

ZIPF, UNIFORM, GAUSSIAN = "toy:unigram:32@1", "toy:unigram:16@0", "toy:gaussian:4096"
SGD = {"training.optimizer.kind": "sgd"}


def records(model, updates, changes, seed=0, **parts):
    """Records of a run that leaves nothing on disk, and its parts."""
    config = load_config("quickstart", settings(model, seed, updates, changes))
    made = prepare(hand_over(config, Handed(**parts)))
    return list(self_train(made.state, made.experiment)), made


def slope(rates, times):
    return np.polyfit(np.log(rates), np.log(times), 1)[0]


# --- names, texts, tokens ------------------------------------------------------------------------


def test_a_name_tells_the_toy():
    assert parse("toy:unigram") == parse("toy:unigram:64@1") == Toy("unigram", 64, 1.0)
    assert parse("toy:unigram:8@0.5") == Toy("unigram", 8, 0.5)
    assert parse("toy:gaussian") == Toy("gaussian", 4096)
    require_model("toy:unigram:8")


@pytest.mark.parametrize(
    "name", ["toy:", "toy:bigram", "toy:unigram:1", "toy:unigram:99999", "toy:gaussian:9@1"]
)
def test_another_name_is_refused(name):
    for ask in (load_model, load_corpus, require_model):
        with pytest.raises(UserError, match="toy:unigram:TYPES@ZIPF"):
            ask(name)


def test_the_text_of_a_toy_has_its_distribution():
    counts = np.bincount([int(word) for word in text_of(ZIPF).split()], minlength=32)
    assert np.abs(counts - 1024 * probabilities(parse(ZIPF))).max() < 1.01
    assert len({*text_of(UNIFORM).split()[:16]}) > 8  # no block of one word


def test_words_are_whole_numbers_and_add_up():
    tokenizer = load_model(ZIPF).tokenizer
    assert tokenizer(" 3\n 17  0 ")["input_ids"] == [3, 17, 0]
    assert tokenizer.decode([3, 17, 0]) == " 3 17 0"
    assert [tokenizer.decode([i]) for i in (3, 17, 0)] == [" 3", " 17", " 0"]


def test_a_text_of_other_words_is_refused(prose_file):
    with pytest.raises(UserError, match="<unk>"):
        next(trial(ZIPF, changes={"evaluation.corpora": f"text:{prose_file}"}))


def test_the_base_model_has_the_entropy_of_its_distribution_on_its_own_text():
    p = probabilities(parse(ZIPF))
    rows = list(trial(ZIPF, updates=1, changes={"training.learning_rate": 0}))
    assert rows[1].get("probe.entropy") == pytest.approx(-(p * np.log(p)).sum(), abs=1e-6)
    (loss,) = rows[0].labelled("validation.loss").values()
    assert loss == pytest.approx(-(p * np.log(p)).sum(), abs=0.01)


# --- sampler and step ----------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, None), (1.0, 6)])
def test_samples_come_from_the_sharpened_distribution(temperature, top_k):
    model = "toy:unigram:12@0.7"
    changes = {
        "training.learning_rate": 0,
        "sampling.temperature": temperature,
        "sampling.top_k": top_k,
        "sampling.max_new_tokens": 250,
    }
    rows, _ = records(model, 4, changes)
    ids = [token for record in rows[1:] for text in record.batch.texts for token in text.ids]
    wanted = drawn_from(np.log(probabilities(parse(model))), temperature, top_k)
    counts = np.bincount(ids, minlength=12)
    assert counts[wanted == 0].sum() == 0
    kept = wanted > 0
    assert chisquare(counts[kept], len(ids) * wanted[kept]).pvalue > 0.01


def test_a_step_of_sgd_is_the_rate_times_shares_less_probabilities():
    (_, record), made = records(ZIPF, 1, {**SGD, "training.learning_rate": 0.3})
    p = probabilities(parse(ZIPF))
    shares = np.bincount(record.batch.texts[0].ids, minlength=32) / 32
    logits = made.model.network.word_logits.detach().double().numpy()
    assert logits == pytest.approx(np.log(p) + 0.3 * (shares - p), abs=1e-6)


def test_sharpened_samples_take_a_time_of_one_over_the_rate():
    changes = {**SGD, "sampling.temperature": 0.7, "sampling.max_new_tokens": 24}
    rates, times = (0.1, 0.3, 1.0), []
    for rate in rates:
        rows = trial(ZIPF, 0, 200, {**changes, "training.learning_rate": rate})
        series = ((r.update - 1, r.get("probe.entropy")) for r in rows if r.update)
        first = next(series)
        times.append(passage(itertools.chain([first], series), first[1] / 2))
    assert slope(rates, times) == pytest.approx(-1, abs=0.1)
    dose = mean_field_dose(probabilities(parse(ZIPF)), 0.7, None)
    assert rates[0] * times[0] == pytest.approx(dose, rel=0.1)


def test_neutral_samples_take_a_time_of_one_over_the_rate_squared():
    changes = {**SGD, "sampling.max_new_tokens": 4, "evaluation.every": 1}
    rates, times = (0.4, 0.8, 1.6), []
    for rate in rates:
        found = []
        for seed in range(3):
            rows = trial(UNIFORM, seed, 900, {**changes, "training.learning_rate": rate})
            points = ((r.update, v) for r in rows for v in r.labelled("validation.change").values())
            found.append(passage(points, 0.03))
        times.append(math.exp(np.mean(np.log(found))))
    assert -2.6 < slope(rates, times) < -1.5


def test_adam_lowers_the_logits_of_neutral_samples_as_the_formula_says():
    def mean_logit(at, batch, probe):
        return {"test.logit": float(at.models.trained.word_logits.detach().double().mean())}

    changes = {"training.learning_rate": 1e-3}
    rows = list(trial(UNIFORM, 0, 180, changes, measures=[mean_logit]))
    drift = (rows[180]["test.logit"] - rows[60]["test.logit"]) / 120 / 1e-3
    assert drift == pytest.approx(adam_drift(1 / 16, 32), rel=0.35)


def test_the_formula_of_adam_is_that_of_a_simulation():
    numbers, b1, b2 = rng.numpy_stream(0, "bootstrap"), 0.9, 0.95
    mean = square = 0.0
    steps = []
    for _ in range(1500):
        gradient = 1 / 8 - numbers.multinomial(64, np.full(8, 1 / 8), size=50) / 64
        mean = b1 * mean + (1 - b1) * gradient
        square = b2 * square + (1 - b2) * gradient**2
        steps.append((mean / (np.sqrt(square) + 1e-12)).mean())
    assert -np.mean(steps[100:]) == pytest.approx(adam_drift(1 / 8, 64), rel=0.15)


# --- sources -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own", "frozen", "real", "shuffled", "mix", "replay", "filter"])
def test_every_source_takes_a_toy(kind):
    corpus = {"real": "source.corpus", "mix": "source.real.corpus"}.get(kind)
    changes = {"source.kind": kind, "sampling.batch_size": 2} | ({corpus: ZIPF} if corpus else {})
    rows = list(trial(ZIPF, 0, 3, {**changes, "sampling.max_new_tokens": 8}))
    assert [row.get("train.tokens") for row in rows[1:]] == [16, 16, 16]
    assert all(0 < row.get("text.distinct_4") <= 1 for row in rows[1:])


def test_frozen_goes_to_one_sharpening_and_own_past_it():
    changes = {**SGD, "sampling.temperature": 0.6, "training.learning_rate": 1}
    model, ends = "toy:unigram:8@1", {}
    for kind in ("own", "frozen"):
        rows = list(trial(model, 0, 100, {**changes, "source.kind": kind, "probe.every": 50}))
        ends[kind] = rows[-1].get("probe.entropy")
    q = drawn_from(np.log(probabilities(parse(model))), 0.6)
    assert ends["frozen"] == pytest.approx(-(q * np.log(q)).sum(), abs=0.1)
    assert ends["own"] < 0.2


# --- generations ---------------------------------------------------------------------------------


def test_the_multinomial_learner_takes_over_the_shares_of_its_text():
    parts = {"optimizer": MultinomialLikelihood, "measures": [heterozygosity]}
    found, made = records(ZIPF, 3, {"sampling.max_new_tokens": 20}, **parts)
    shares = np.bincount(found[-1].batch.texts[0].ids, minlength=32) / 20
    p = made.model.network.word_logits.detach().double().softmax(0).numpy()
    assert p == pytest.approx(shares, abs=1e-6)
    assert found[-1].row["toy.heterozygosity"] == pytest.approx(1 - (shares**2).sum(), abs=1e-6)


def test_drift_ends_in_one_word_which_the_rule_sees():
    changes = {"sampling.max_new_tokens": 8, "sampling.batch_size": 1}
    rows = list(trial(UNIFORM, 1, 60, changes, optimizer=MultinomialLikelihood))
    fixed = next(row.update for row in rows[1:] if row["text.distinct_1"] == 1 / 8)
    verdict = judge(rows)
    assert verdict.collapsed
    assert verdict.collapse_update <= fixed
    assert rows[-1].get("probe.entropy") == pytest.approx(0, abs=1e-6)


def test_heterozygosity_falls_by_one_nth_per_generation():
    parts = {"optimizer": MultinomialLikelihood, "measures": [heterozygosity]}
    kept = []
    for seed in range(12):
        rows = list(trial(UNIFORM, seed, 5, {"sampling.max_new_tokens": 20}, **parts))
        kept.append(rows[5]["toy.heterozygosity"] / rows[0]["toy.heterozygosity"])
    error = np.std(kept, ddof=1) / math.sqrt(12)
    assert np.mean(kept) == pytest.approx(0.95**5, abs=2.5 * error)
    assert error < 0.04


def drawn_numbers(record):
    places = np.linspace(-8, 8, 4096)
    return places[[token for text in record.batch.texts for token in text.ids]]


@pytest.mark.parametrize("source", [None, Accumulated])
def test_the_gaussian_learner_takes_over_mean_and_variance(source):
    parts = {"optimizer": GaussianLikelihood, "measures": [moments], "source": source}
    found, _ = records(GAUSSIAN, 6, {"sampling.max_new_tokens": 9}, **parts)
    assert [record.row.get("train.tokens") for record in found[1:]] == (
        [9, 18, 27, 36, 45, 54] if source else [9] * 6
    )
    for record in found[1:]:
        drawn = drawn_numbers(record)
        assert record.row["toy.mean"] == pytest.approx(drawn.mean(), abs=1e-4)
        assert record.row["toy.variance"] == pytest.approx(drawn.var(), rel=1e-3)


def test_a_uniform_number_picks_the_bin_of_its_quantile():
    found, _ = records(GAUSSIAN, 2, {"sampling.max_new_tokens": 10}, seed=7)
    uniforms = rng.uniforms(rng.stream(7, "sample", 1), 1, 10)[0].numpy()
    assert drawn_numbers(found[1]) == pytest.approx(norm.ppf(uniforms), abs=0.004)


def test_replaced_data_lose_variance_and_accumulated_data_keep_their_mean():
    changes, ratios, scaled = {"sampling.max_new_tokens": 5}, [], []
    for seed in range(4):
        parts = {"optimizer": GaussianLikelihood, "measures": [moments]}
        rows = list(trial(GAUSSIAN, seed, 12, changes, **parts))
        variances = [row["toy.variance"] for row in rows]
        ratios += [after / before for before, after in itertools.pairwise(variances)]
        rows = list(trial(GAUSSIAN, seed, 12, changes, source=Accumulated, **parts))
        # of generation i the mean moves by N(0, variance / n) / i, whence pi^2 / 6
        scaled += [
            (after["toy.mean"] - before["toy.mean"])
            * after.update
            * math.sqrt(5 / before["toy.variance"])
            for before, after in itertools.pairwise(rows)
        ]
    assert np.mean(ratios) == pytest.approx(0.8, abs=2.5 * np.std(ratios) / math.sqrt(48))
    assert np.var(scaled) == pytest.approx(1, abs=2.5 * math.sqrt(2 / 48))


# --- a toy keeps a run directory like any model --------------------------------------------------


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (ZIPF, {}),
        (
            GAUSSIAN,
            {
                "optimizer": partial(GaussianLikelihood, narrowest=0.01),
                "measures": [moments],
                "source": Accumulated,
            },
        ),
    ],
    ids=["unigram", "accumulate"],
)
def test_three_and_three_updates_are_six(model, parts, tmp_path):
    config = load_config("quickstart", settings(model, 3, 6, {"sampling.max_new_tokens": 8}))
    whole = collapse_lm.run(config, tmp_path / "six", **parts)
    half = {"run.max_updates": 3}
    first = collapse_lm.run(config, tmp_path / "three", overrides=half, **parts)
    collapse_lm.resume(first.directory, overrides={"run.max_updates": 6}, **parts)
    found, wanted = numbers(tmp_path / "three"), numbers(whole.directory)
    assert [row.get("train.loss") for row in found] == [row.get("train.loss") for row in wanted]
    own = [{k: v for k, v in row.items() if not k.startswith("validation.")} for row in wanted]
    assert [{k: v for k, v in r.items() if not k.startswith("validation.")} for r in found] == own


def test_an_exported_toy_is_a_model_for_transformers(tmp_path):
    config = load_config("quickstart", settings(ZIPF, 0, 2, {"run.export_model": True}))
    run = collapse_lm.run(config, tmp_path / "run")
    again = load_model(run.directory / "model")
    base = load_model(ZIPF).network.word_logits
    assert not torch.equal(again.network.word_logits, base)
    assert again.provenance.parameters == 32


# --- the page ------------------------------------------------------------------------------------


def script():
    path = Path(__file__).parents[1] / "docs" / "scripts" / "measure_toys.py"
    spec = importlib.util.spec_from_file_location("measure_toys", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_rendered_from_the_committed_tables():
    toys = script()
    assert toys.results(toys.DATA) in toys.PAGE.read_text("utf-8")
    assert {row["arm"] for row in toys.read(toys.DATA / "runs.csv")} <= {*toys.ARMS}


def test_a_passage_is_read_off_a_straight_line():
    assert passage([(0, 4.0), (1, 3.0), (2, 1.0)], 2.0) == 1.5
    assert passage([(0, 0.0), (5, 1.0)], 0.5) == 2.5
    assert passage([(0, 0.0), (5, 0.2)], 0.5) is None
    assert passage([], 0.5) is None
