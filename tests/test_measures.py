"""Measures of a run against their definitions: distributions, weights, types, last probes."""

import importlib.util
import itertools
import json
import math
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import collapse_lm
from collapse_lm._util.fitting import fit
from collapse_lm.cli.tables import evaluation_table
from collapse_lm.corpora.corpus import DATA_VARIABLE, Corpus, load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Models, Moment
from collapse_lm.inference import inference_network
from collapse_lm.measures.drift import Drift, distance, distances, groups_of
from collapse_lm.measures.human import human_values, pooled_values
from collapse_lm.measures.names import NAMES
from collapse_lm.measures.overlap import OverlapWithLast
from collapse_lm.measures.prefixes import Prefixes, next_log_probs, prefix_values
from collapse_lm.measures.types import Types, most_frequent, type_values, zipf_slope
from collapse_lm.measures.validation import evaluate
from collapse_lm.models.load import load_model
from collapse_lm.rundir import RunReader

from conftest import PROSE, byte_tokenizer, tiny_gpt2, tiny_llama

NO_MODELS = Models(None, None, None)


def probe_of(*samples):
    return Batch(tuple(Text((0,), tuple(ids), "own") for ids in samples))


def told(measure, update, *samples):
    return measure(Moment(update, NO_MODELS), Batch(), probe_of(*samples))


def dataset(text, tokens, form="raw"):
    corpus = Corpus("prose", text, form, "none", "test", "0")
    return EvaluationSet.build(corpus, byte_tokenizer(), 256, tokens)


# --- prefixes ------------------------------------------------------------------------------------


def test_the_divergences_at_prefixes_are_those_of_the_full_softmax():
    data = dataset(PROSE[:64], 16)
    base, now = tiny_gpt2(), tiny_gpt2()
    with torch.no_grad():
        for parameter in now.parameters():
            parameter.mul_(1.3)
    measure = Prefixes(data, 1)
    measure.see_base(inference_network(base, "float32"))
    models = Models(now, inference_network(now, "float32"), None)
    found = measure(Moment(3, models), Batch(), Batch())
    forward, reverse, entropies, tops = [], [], [], []
    stream = data.ids.tolist()
    for start in range(0, 64, 16):
        ids = torch.tensor([stream[start : start + 16]])
        with torch.no_grad():
            p, q = (m.double()(ids).logits[0, -1].softmax(-1).tolist() for m in (base, now))
        forward.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        reverse.append(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)))
        entropies.append(-sum(b * math.log(b) for b in q))
        tops.append(max(q))
    assert found["prefix.kl"] == pytest.approx(sum(forward) / 4, rel=1e-4)
    assert found["prefix.kl_reverse"] == pytest.approx(sum(reverse) / 4, rel=1e-4)
    assert found["prefix.entropy"] == pytest.approx(sum(entropies) / 4, rel=1e-4)
    assert found["prefix.top1"] == pytest.approx(sum(tops) / 4, rel=1e-4)
    assert found["prefix.effective_vocabulary"] == pytest.approx(math.exp(sum(entropies) / 4), 1e-4)
    assert found["prefix.kl"] != pytest.approx(found["prefix.kl_reverse"], rel=0.01)


def test_known_distributions_have_known_divergences():
    half, sure = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[1.0, 0.0, 0.0]]).log()
    found = prefix_values(half, sure)
    assert found["prefix.kl"] == math.inf  # the base model can say what the model now cannot
    assert found["prefix.kl_reverse"] == pytest.approx(math.log(2))
    assert (found["prefix.entropy"], found["prefix.top1"]) == (0, 1)
    assert prefix_values(sure, half)["prefix.effective_vocabulary"] == pytest.approx(2)
    same = prefix_values(half, half)
    assert (same["prefix.kl"], same["prefix.kl_reverse"]) == (0, 0)


def test_prefixes_in_several_passes_are_those_of_one(monkeypatch):
    data, network = dataset(PROSE[:96], 16), inference_network(tiny_llama(), "float32")
    whole = next_log_probs(network, data)
    monkeypatch.setattr("collapse_lm.measures.prefixes._BATCH_TOKENS", 32)
    assert torch.allclose(next_log_probs(network, data), whole, atol=1e-5)
    assert whole.shape == (6, 257)
    assert torch.allclose(whole.exp().sum(-1), torch.ones(6))


def test_prefixes_are_spread_over_the_text_and_are_all_whole(tiny_overrides, prose_file):
    from collapse_lm.config import load_config
    from collapse_lm.experiment.build import context_of, ready_model

    kind = {"kind": "prefixes", "corpus": f"text:{prose_file}", "count": 4, "tokens": 50}
    config = load_config("quickstart", [*tiny_overrides, f"measures=[{kind}]"])
    context = context_of(config, ready_model(config))
    windows = config.measures[0].build(context)._data.windows
    assert [(w.first_input, w.inputs) for w in windows] == [
        (start, 50) for start in (50, 200, 350, 500)
    ]


@pytest.mark.parametrize(
    ("tokens", "told"),
    [(1000, "at most 128"), (120, "a corpus of 9 tokens")],
    ids=["model", "text"],
)
def test_a_prefix_that_model_or_text_is_too_short_for_is_refused(
    tokens, told, tiny_overrides, tmp_path
):
    (tmp_path / "t.txt").write_text("too short")
    kind = f"measures=[{{kind: prefixes, corpus: 'text:{tmp_path}/t.txt', tokens: {tokens}}}]"
    with pytest.raises(UserError, match=told):
        collapse_lm.run("quickstart", tmp_path / "r", overrides=[*tiny_overrides, kind])
    assert not (tmp_path / "r").exists()


# --- drift ---------------------------------------------------------------------------------------


def test_distances_of_hand_made_weights():
    start = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[12.0]]), "c": torch.zeros(2)}
    now = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[25.0]]), "c": torch.ones(2)}
    groups = {"a": "mlp", "b": "norms", "c": "other"}
    found = distances(start, now, groups)
    assert found["drift.total"] == pytest.approx(math.sqrt(13**2 + 2) / 13)
    assert found["drift[mlp]"] == 0
    assert found["drift[norms]"] == pytest.approx(13 / 12)
    assert math.isnan(found["drift[other]"])  # of no length, and so without a relative one


def test_weights_of_several_parts_are_one_vector(monkeypatch):
    monkeypatch.setattr("collapse_lm.measures.drift._PART", 7)
    start, now = torch.linspace(-1, 1, 60).view(4, 15), torch.linspace(0, 3, 60).view(4, 15)
    wanted = (now - start).norm() / start.norm()
    assert distance({"a": start}, {"a": now}, ["a"]) == pytest.approx(float(wanted), rel=1e-5)


def test_the_step_is_what_one_update_changed():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    measure = Drift(lambda: {"w": weight}, {"w": "mlp"}, 1)
    assert told(measure, 0) == {"drift.total": 0, "drift[mlp]": 0}
    with torch.no_grad():
        weight += torch.tensor([0.0, 8.0])  # an update that is not measured
        measure.before_step(Moment(2, NO_MODELS))
        weight += torch.tensor([4.0, 0.0])
    found = told(measure, 2)
    assert found["drift.step"] == pytest.approx(4 / math.hypot(3, 12))
    assert found["drift.total"] == pytest.approx(math.hypot(4, 8) / 5)
    assert "drift.step" not in told(measure, 3)  # off schedule, it has not seen the start


def test_every_weight_has_a_group():
    gpt2 = groups_of(tiny_gpt2())
    assert gpt2["transformer.wte.weight"] == gpt2["transformer.wpe.weight"] == "embeddings"
    assert gpt2["transformer.h.0.ln_1.weight"] == gpt2["transformer.ln_f.bias"] == "norms"
    assert gpt2["transformer.h.1.attn.c_proj.weight"] == "attention"
    assert gpt2["transformer.h.1.mlp.c_fc.bias"] == "mlp"
    llama = groups_of(tiny_llama())
    assert llama["model.layers.0.post_attention_layernorm.weight"] == "norms"
    assert set(llama.values()) == {"embeddings", "norms", "attention", "mlp"}
    sizes = {"vocab_size": 9, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 1}
    untied = GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=False))
    assert groups_of(untied)["lm_head.weight"] == "head"
    unigram = load_model("toy:unigram").network
    assert len(groups_of(unigram)) == len(list(unigram.named_parameters()))


# --- types ---------------------------------------------------------------------------------------


def test_rare_types_are_counted_once_each():
    found = type_values([1, 1, 1, 2, 3, 3], frozenset({1, 9}))
    assert found["types.rare_share"] == pytest.approx(2 / 3)
    assert most_frequent([7, 5, 5, 6, 7, 8], 3) == {5, 7, 6}  # of 6 and 8 the lower


def test_the_slope_of_frequencies_of_a_power_law_is_its_exponent():
    ids = [rank for rank in range(1, 9) for _ in range(840 // rank)]  # 840 has all divisors to 8
    assert zipf_slope(ids) == pytest.approx(-1)
    assert zipf_slope([1, 1, 2, 2, 3, 3]) == 0
    assert zipf_slope([4, 4, 4, 4, 9]) == pytest.approx(-2)  # log 4 over log 2
    assert math.isnan(zipf_slope([5, 5]))


def test_types_are_pooled_over_five_probes():
    measure = Types(frozenset({1}), 1)
    shares = [told(measure, u, [1, u + 1], [1])["types.rare_share"] for u in range(1, 8)]
    assert shares == pytest.approx([1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 6, 5 / 6, 5 / 6])
    assert told(measure, 8) == {}
    again = Types(frozenset({1}), 1)
    again.load(measure.state())
    assert told(again, 9, [1, 1]) == told(measure, 9, [1, 1])


# --- the last probes -----------------------------------------------------------------------------


def test_overlap_with_several_probes_is_that_with_any_of_them():
    measure = OverlapWithLast(2, 1, last=2)
    assert told(measure, 1, [1, 2, 3]) == {}
    assert told(measure, 2, [3, 4, 5])["overlap[2, last 2]"] == 0
    assert told(measure, 3, [1, 2, 9, 4, 5])["overlap[2, last 2]"] == 2 / 4
    again = OverlapWithLast(2, 1, last=2)
    again.load(measure.state())
    for one in (measure, again):
        assert told(one, 4, [1, 2, 3, 4])["overlap[2, last 2]"] == 2 / 3  # 2, 3 is forgotten


def test_overlap_with_the_last_takes_the_memory_of_an_earlier_release():
    measure = OverlapWithLast(1, 1)
    measure.load({"last": [[1, 2], [3]]})
    assert told(measure, 2, [3, 4])["overlap[1]"] == 1 / 2
    assert measure.state() == {"last": [[3, 4]], "earlier": []}
    fresh = OverlapWithLast(1, 1)
    fresh.load(OverlapWithLast(1, 1).state())
    assert told(fresh, 1, [3]) == {}


def test_human_text_is_pooled_as_probes_are():
    ids = [place % 7 for place in range(60)]  # windows of 10: all 4-grams are known after one
    found = pooled_values(ids, 10, 1)
    assert found["pool.overlap"] == 1
    assert found["pool.distinct_1"] == pytest.approx(7 / 50)
    assert found["pool.distinct_4"] == pytest.approx(7 / 35)
    assert pooled_values(ids[:59], 10, 1) == {} == pooled_values(ids, 10, 2)
    values, count = human_values(list(range(120)), 10, str, samples=2)
    assert (values["pool.overlap"], values["pool.distinct_1"], count) == (0, 1, 12)


# --- word perplexity with the ends of lines ------------------------------------------------------


@pytest.mark.parametrize("text", ["a b \n c\n\n", "a b\n\nc", "a b c\n\n"])
def test_the_end_of_a_line_counts_as_a_word_by_custom(text):
    data = dataset(text, 3, form="<unk>")
    found = evaluate(inference_network(tiny_gpt2(), "float32"), data)
    total = found.loss * found.tokens
    lines = len(text.splitlines())
    assert data.scored_lines == lines
    assert found.word_perplexity_eos == pytest.approx(math.exp(total / (3 + lines)))
    assert found.word_perplexity == pytest.approx(math.exp(total / 3))
    parts = [replace(data, windows=(window,)).scored_lines for window in data.windows]
    assert sum(parts) == lines
    raw = dataset(text, 3)
    assert evaluate(inference_network(tiny_gpt2(), "float32"), raw).word_perplexity_eos is None


class ByLine:
    """A tokenizer to which each line is the same token, which is quick."""

    def __call__(self, text, **settings):
        ends = [place + 1 for place, character in enumerate(text) if character == "\n"]
        offsets = list(itertools.pairwise([0, *ends]))
        return {"input_ids": [1] * len(offsets), "offset_mapping": offsets}

    def convert_ids_to_tokens(self, ids):
        return list(map(str, ids))


@pytest.mark.parametrize(
    ("name", "words", "lines"), [("ptb", 70_390, 3_370), ("wikitext2", 213_886, 3_760)]
)
def test_the_corpora_have_as_many_words_and_lines_as_others_count(name, words, lines):
    if not Path(os.environ.get(DATA_VARIABLE, ""), f"{name}.valid.txt").is_file():
        pytest.skip(f"{DATA_VARIABLE} names no folder with {name}")
    data = EvaluationSet.build(load_corpus(name), ByLine(), 0, 1024)
    assert (data.scored_words, data.scored_lines) == (words, lines)


def test_eval_shows_it_beside_ours_where_a_corpus_has_it():
    facts = {"tokens": 2048, "context": 512, "stride": 512}
    loss = {"loss": 3.25, "perplexity": 25.79, "bits_per_byte": 1.02, "word_perplexity": 123.456}
    loss["tokens"] = 2048
    listing = evaluation_table(
        {
            "corpora": [
                {**facts, "name": "sotu", "form": "raw"},
                {**facts, "name": "ptb", "form": "<unk>"},
            ],
            "validation": {"sotu": loss, "ptb": {**loss, "word_perplexity_eos": 98.765}},
        }
    )
    place = listing.columns.index("with <eos>")
    assert [row[place] for row in listing.rows] == ["", "98.765"]
    assert listing.columns[place - 1] == "word perplexity"
    found = fit(listing.columns, listing.rows, 80, listing.narrowing)
    assert all(len(line) <= 80 for line in (*found.head, *found.lines))


# --- in a run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tiny_overrides, prose_file):
    corpus = f"corpus: 'text:{prose_file}'"
    kinds = [
        f"{{kind: prefixes, {corpus}, count: 4, tokens: 16}}",
        f"{{kind: types, {corpus}, frequent: 10}}",
        *("drift", "{kind: overlap, n: 1, last: 3}"),
    ]
    return [*tiny_overrides, "probe.samples=2", f"measures=[{', '.join(kinds)}]"]


def numbers(path):
    rows = RunReader(path).updates()
    return [{k: v for k, v in row.values.items() if k[:8] != "seconds."} for row in rows]


@pytest.fixture(scope="module")
def whole(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measures")
    return collapse_lm.run("quickstart", folder / "run", overrides=measured).directory


def test_three_updates_and_three_more_measure_what_six_do(measured, whole, tmp_path):
    short = [*measured, "run.max_updates=3", "run.checkpoint_every=3"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "r") == numbers(whole)


def test_what_a_run_measures_follows_from_its_texts(whole):
    rows, samples = numbers(whole), RunReader(whole).samples()
    assert rows[0]["prefix.kl"] == rows[0]["drift.total"] == 0
    probes = [[ids for text in row.probe for ids in text.ids] for row in samples]
    for update in (1, 6):
        pooled = [token for ids in probes[max(0, update - 5) : update] for token in ids]
        counts = Counter(pooled)
        assert rows[update]["types.zipf_slope"] == pytest.approx(zipf_slope(pooled))
        assert rows[update]["pool.distinct_1"] == pytest.approx(len(counts) / len(pooled))
    assert "pool.overlap" not in rows[1]
    seen = {token for ids in probes[2:5] for token in ids}
    assert rows[6]["overlap[1, last 3]"] == pytest.approx(
        len(seen & set(probes[5])) / len(set(probes[5]))
    )
    for row in rows[1:]:
        assert row["prefix.kl"] > 0
        assert 0 < row["drift.step"] <= row["drift.total"] * 2
        assert row["probe.top1"] < row["prefix.effective_vocabulary"]


def test_at_learning_rate_0_nothing_moves_to_the_last_digit(measured, tmp_path):
    words = [*measured, "training.learning_rate=0", "run.max_updates=2"]
    rows = numbers(collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory)
    still = [k for k in rows[0] if k.startswith(("prefix.", "drift", "validation."))]
    assert len(still) == 15
    assert all(row[name] == rows[0][name] for row in rows for name in still)
    assert [row["drift.step"] for row in rows[1:]] == [0, 0]


def test_the_likeliest_token_of_a_draw_has_the_mass_that_is_told(
    gpt2_dir, tiny_overrides, tmp_path
):
    words = [*tiny_overrides, "run.max_updates=1", "sampling.temperature=0"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=words).directory
    row, (text,) = numbers(run)[1], RunReader(run).samples()[0].texts
    mean = sum(math.exp(value) for value in text.log_probs) / len(text.ids)
    assert row["draw.top1"] == row["probe.top1"] == pytest.approx(mean, rel=1e-3)  # greedy


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "docs" / "scripts" / "render_metrics.py"
    spec = importlib.util.spec_from_file_location("render_metrics", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_rendered_from_names_and_record(script):
    assert script.tables(json.loads(script.RECORD.read_text("utf-8"))) in script.PAGE.read_text(
        "utf-8"
    )


def test_every_number_that_judges_a_model_or_its_text_stands_on_the_page(script):
    measured = (
        *("text.", "pool.", "validation.", "overlap", "base.", "prefix.", "types.", "drift"),
        *("dose.", "base_samples."),
    )
    wanted = {name for name in NAMES if name.startswith(measured)}
    told = [name for group in script.GROUPS for name in group.worse]
    assert wanted - set(told) == set()
    assert len(told) == len(set(told))
    assert set(told) <= set(NAMES)


def test_what_every_run_measures_costs_at_most_a_twentieth_of_an_update(script):
    record = json.loads(script.RECORD.read_text("utf-8"))
    assert sum(record["seconds"][key] for key in script.DEFAULT) <= 0.05 * record["update_seconds"]
