"""Where text comes from: each source against a direct definition, alone and within others."""

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from test_run import Seen, untimed
from transformers import AutoTokenizer

import collapse_lm
from collapse_lm import rng
from collapse_lm.analysis.outcomes import last_probe_before, measure_runs
from collapse_lm.config import CollapseRule, identity, load_config
from collapse_lm.config.parts import SOURCES
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.experiment.models import Moment
from collapse_lm.experiment.sources.filter import Filter, Limits
from collapse_lm.experiment.sources.numbers import Numbers, places
from collapse_lm.experiment.sources.replay import Replay
from collapse_lm.measures.names import Row, described
from collapse_lm.report.effects_page import effects_markdown
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.summary import sum_up

PLUGIN = "collapse-lm-plugin"
QUICK = [
    "run.threads=1",
    "observers=[]",
    "run.report=false",
    "evaluation.every=6",
    "collapse.stop=false",
]
START = 256  # the start token of the tiny models


@pytest.fixture(scope="module")
def line_file(tmp_path_factory):
    """A text of 61 tokens (bytes), shorter than what two updates train on."""
    path = tmp_path_factory.mktemp("text") / "line.txt"
    path.write_text("".join(chr(33 + n) for n in range(61)))
    return path


@pytest.fixture(scope="module")
def do(tiny_overrides, tmp_path_factory):
    """Do a small run of six updates of these settings; each once."""
    known = {}

    def run(*words):
        if words not in known:
            path = tmp_path_factory.mktemp("sources") / "run"
            every = [*tiny_overrides, *QUICK, *words]
            known[words] = collapse_lm.run("quickstart", path, overrides=every).directory
        return known[words]

    return run


def texts_of(path):
    return [row.texts for row in RunReader(path).samples()]


def ids_of(path):
    return [[text.ids for text in texts] for texts in texts_of(path)]


def encoded(path, gpt2_dir):
    tokenizer = AutoTokenizer.from_pretrained(gpt2_dir)
    return tokenizer(path.read_text(), add_special_tokens=False)["input_ids"]


# --- samples of the base model -----------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "{sampling: bfloat16, evaluation: float32}"])
def test_at_learning_rate_0_frozen_is_own_to_the_last_digit(precision, do):
    words = [f"precision={precision}", "training.learning_rate=0", "probe.samples=2"]
    own, frozen = do(*words), do(*words, "source.kind=frozen")
    assert untimed(frozen) == untimed(own)
    assert ids_of(frozen) == ids_of(own)
    assert {text.origin for texts in texts_of(frozen) for text in texts} == {"base"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_frozen_draws_from_the_base_model_with_the_numbers_of_own(precision, do, gpt2_dir):
    words = [f"precision={precision}", "sampling.batch_size=2"]
    own, frozen = do(*words), do(*words, "source.kind=frozen")
    assert ids_of(frozen)[0] == ids_of(own)[0]
    assert ids_of(frozen)[5] != ids_of(own)[5]
    settings = {"samples": 2, "max_new_tokens": 40, "precision": precision}
    for update in (1, 4, 6):
        drawn = collapse_lm.sample(gpt2_dir, update=update, **settings)
        assert [text.ids for text in drawn.texts] == ids_of(frozen)[update - 1]


# --- human text --------------------------------------------------------------------------------


def test_a_stream_is_the_corpus_in_order_and_begins_again(do, line_file, gpt2_dir):
    run = do(
        *("source.kind=real", f"source.corpus=text:{line_file}", "source.order=stream"),
        *("sampling.batch_size=2", "sampling.max_new_tokens=20"),
    )
    ids = encoded(line_file, gpt2_dir)
    for update, texts in enumerate(texts_of(run)):
        for place, text in enumerate(texts):
            first = (2 * update + place) * 20
            assert text.ids == tuple(ids[(first + n) % 61] for n in range(20))
            assert text.prompt == (ids[first % 61 - 1] if first % 61 else START,)
            assert text.origin == f"corpus:text:{line_file}"
    assert texts_of(run)[0][0].prompt == (START,)
    assert any(text.ids[-1] < text.ids[0] for texts in texts_of(run) for text in texts)


def test_random_windows_lie_whole_in_the_corpus(do, line_file, gpt2_dir):
    run = do(
        *("source.kind=real", f"source.corpus=text:{line_file}"),
        *("sampling.batch_size=3", "sampling.max_new_tokens=20"),
    )
    ids, found = encoded(line_file, gpt2_dir), set()
    for update, texts in enumerate(texts_of(run), 1):
        numbers = rng.stream(0, "source", update)
        starts = torch.randint(61 - 20 + 1, (3,), generator=numbers).tolist()
        assert [text.ids for text in texts] == [tuple(ids[s : s + 20]) for s in starts]
        assert [text.prompt[0] for text in texts] == [ids[s - 1] if s else START for s in starts]
        found |= set(starts)
    assert len(found) > 10


def test_the_train_loss_of_real_text_is_its_loss_before_the_step(do, prose_file, gpt2_dir):
    run = do("source.kind=real", f"source.corpus=text:{prose_file}", "source.order=stream")
    from conftest import tiny_gpt2

    ids = torch.tensor([[START, *encoded(prose_file, gpt2_dir)[:40]]])
    with torch.no_grad():
        log_p = tiny_gpt2()(ids[:, :-1]).logits[0].log_softmax(-1)
    loss = -log_p.gather(-1, ids[0, 1:, None]).mean().item()
    assert untimed(run)[1]["train.loss"] == pytest.approx(loss, rel=1e-5)


def test_a_corpus_shorter_than_one_text_is_refused(tiny_overrides, line_file, tmp_path):
    words = [*tiny_overrides, "source.kind=real", f"source.corpus=text:{line_file}"]
    with pytest.raises(UserError, match=r"61 tokens[\s\S]*at least 62"):
        collapse_lm.run(
            "quickstart", tmp_path / "r", overrides=[*words, "sampling.max_new_tokens=62"]
        )
    assert not (tmp_path / "r").exists()


def test_training_on_what_is_evaluated_is_told(tiny_overrides, prose_file, tmp_path, caplog):
    words = [*tiny_overrides, *QUICK, "run.max_updates=0", "source.kind=mix"]
    words += [f"source.real.corpus=text:{prose_file}"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    assert f"trains on text:{prose_file}" in caplog.text


def test_what_a_source_reads_is_in_the_manifest_and_must_not_change(
    tiny_overrides, line_file, tmp_path
):
    text = tmp_path / "text.txt"
    text.write_text(line_file.read_text())
    words = [*tiny_overrides, *QUICK, "source.kind=mix", f"source.real.corpus=text:{text}"]
    run = collapse_lm.run(
        "quickstart",
        tmp_path / "r",
        overrides=[*words, "run.max_updates=2", "run.checkpoint_every=2"],
    )
    (read,) = RunReader(run.directory).manifest()["corpora_of_parts"]
    assert read["name"] == f"text:{text}"
    assert read["sha256"] == hashlib.sha256(text.read_bytes()).hexdigest()
    text.write_text(line_file.read_text().replace("A", "B"))
    with pytest.raises(UserError, match="as the run began"):
        collapse_lm.resume(run.directory, overrides=["run.max_updates=4"])
    nested = load_config("quickstart", ["source.kind=filter", "source.of.kind=mix"])
    assert nested.source.corpora() == ("sotu-train",)


# --- wrappers ----------------------------------------------------------------------------------


def test_shuffled_permutes_the_tokens_of_each_text(do):
    words = ["sampling.batch_size=2", "probe.every=3"]
    own, shuffled = do(*words), do(*words, "source.kind=shuffled")
    numbers = rng.stream(0, "source", 1, 1)
    for before, after in zip(texts_of(own)[0], texts_of(shuffled)[0], strict=True):
        order = torch.randperm(40, generator=numbers).tolist()
        assert after.ids == tuple(before.ids[place] for place in order)
        assert after.prompt == before.prompt
        assert (after.origin, after.log_probs) == ("shuffled:own", ())
    assert all(
        len(row.samples) == (2 if row.update % 3 == 0 else 0)
        for row in RunReader(shuffled).samples()
    )  # no permuted text passes for a sample


def test_half_of_a_batch_is_real(do, prose_file):
    words = ["sampling.batch_size=4"]
    own = do(*words)
    mixed = do(*words, "source.kind=mix", f"source.real.corpus=text:{prose_file}")
    rows, texts = untimed(mixed), texts_of(mixed)
    assert [row["mix.real"] for row in rows[1:]] == [2] * 6
    real = [[text.origin != "own" for text in update] for update in texts]
    assert len(set(map(tuple, real))) > 1  # not always the same places
    for place, text in enumerate(texts[0]):
        assert (text.ids == ids_of(own)[0][place]) == (text.origin == "own")


def test_a_share_of_one_text_holds_on_average():
    drawn = [len(places(0.3, 1, Numbers(5, 1).of(Moment(u, None)))) for u in range(1, 2001)]
    assert sum(drawn) / 2000 == pytest.approx(0.3, abs=3 * math.sqrt(0.21 / 2000))
    several = Counter(len(places(0.6, 4, Numbers(5, 1).of(Moment(u, None)))) for u in range(1, 501))
    assert several.keys() == {2, 3}
    assert several[2] / 500 == pytest.approx(0.6, abs=0.07)
    where = Counter(
        p for u in range(1, 501) for p in places(0.5, 4, Numbers(5).of(Moment(u, None)))
    )
    assert min(where.values()) > 200


def test_a_share_is_of_the_texts_that_come_from_within(do, prose_file):
    keeps = ["sampling.batch_size=4", "source.of.kind=filter", "source.of.keep=8"]
    passes = ["source.of.degenerate=false", "source.of.least_entropy=0.001"]
    mix = do("source.kind=mix", f"source.real.corpus=text:{prose_file}", *keeps, *passes)
    assert [row["mix.real"] for row in untimed(mix)[1:]] == [4] * 6
    replay = do("source.kind=replay", *keeps, *passes)
    assert [row["replay.texts"] for row in untimed(replay)[1:]] == [0, *[4] * 5]
    for texts in (texts_of(mix), texts_of(replay)):
        assert [len(batch) for batch in texts] == [8] * 6
        places = {n for batch in texts for n, text in enumerate(batch) if text.origin != "own"}
        assert max(places) > 3
    none_passes = ["source.degenerate=false", "source.least_entropy=99", "source.most_draws=2"]
    rows = untimed(do("source.kind=filter", *none_passes, *keeps, *passes))[1:]
    assert [(row["filter.drawn"], row["filter.forced"]) for row in rows] == [(16, 8)] * 6


def test_a_mix_of_nothing_is_own_and_one_of_all_draws_nothing(do, prose_file):
    words = ["source.kind=mix", f"source.real.corpus=text:{prose_file}", "probe.samples=2"]
    none, everything = do(*words, "source.share=0"), do(*words, "source.share=1")
    assert ids_of(none) == ids_of(do("probe.samples=2"))
    origins = {text.origin for texts in texts_of(everything) for text in texts}
    assert origins == {f"corpus:text:{prose_file}"}
    assert not any(name.startswith("draw.") for row in untimed(everything) for name in row)


def test_sources_within_one_another_draw_other_numbers():
    at = Moment(3, None)
    seeds = [
        Numbers(0, depth).of(replace(at, attempt=attempt), which).initial_seed()
        for depth in range(3)
        for attempt in range(3)
        for which in range(2)
    ]
    assert len(set(seeds)) == len(seeds)
    assert seeds[0] == rng.stream(0, "source", 3).initial_seed()


def test_replayed_texts_are_those_of_the_update_that_they_name(do):
    words = ["source.kind=replay", "source.share=0.5", "source.last=2", "sampling.batch_size=4"]
    run = do(*words)
    texts, rows = texts_of(run), untimed(run)
    assert {text.origin for text in texts[0]} == {"own"}
    named = set()
    for update, batch in enumerate(texts, 1):
        again = [text for text in batch if text.origin != "own"]
        assert rows[update]["replay.texts"] == len(again) == (2 if update > 1 else 0)
        for text in again:
            before = int(text.origin.removeprefix("replay:"))
            assert update - 2 <= before < update
            assert text.ids in [t.ids for t in texts[before - 1] if t.origin == "own"]
            named.add(update - before)
    assert named == {1, 2}


def test_replay_draws_from_all_earlier_texts_alike():
    way = Replay(0.5, None, 1, Numbers(0, 1))
    for update in range(1, 5):
        way.note((Text((0,), (update,), "own"), Text((0,), (9,), "replay:1")))
    drawn = [
        way.draw(Moment(u, None), lambda at: Batch((Text((0,), (0,), "own"),)))
        for u in range(1, 801)
    ]
    again = Counter(batch.texts[0].origin for batch in drawn)
    assert again.keys() == {"own", "replay:1", "replay:2", "replay:3", "replay:4"}
    assert all(again[f"replay:{u}"] == pytest.approx(100, abs=35) for u in range(1, 5))


def scripted(*batches):
    """A source that gives these texts, attempt by attempt."""
    asked = []

    def draw(at):
        asked.append(at.attempt)
        texts = tuple(Text((0,), ids, "own") for ids in batches[at.attempt])
        return Batch(texts, {"draw.entropy": float(at.attempt), "draw.forward_passes": 1})

    return draw, asked


GOOD = [tuple(range(start, start + 40)) for start in range(5)]
LOOP = [(place, place + 1) * 20 for place in range(5)]


def test_a_filter_draws_until_enough_texts_are_good():
    draw, asked = scripted([GOOD[0], LOOP[0]], [LOOP[1], LOOP[2]], [GOOD[1], GOOD[2]], [])
    batch = Filter(Limits(CollapseRule()), 2, 10).draw(Moment(7, None), draw)
    assert [text.ids for text in batch.texts] == [GOOD[0], GOOD[1]]
    assert asked == [0, 1, 2]
    assert batch.values == {
        "draw.entropy": 1.0,  # of all that was drawn
        "draw.forward_passes": 3,
        "filter.drawn": 6,
        "filter.rejected": 3,
        "filter.forced": 0,
    }


def test_at_the_cap_the_newest_rejected_texts_fill_up():
    draw, asked = scripted([GOOD[0], LOOP[0]], [LOOP[1], LOOP[2]])
    batch = Filter(Limits(CollapseRule()), 3, 2).draw(Moment(7, None), draw)
    assert [text.ids for text in batch.texts] == [GOOD[0], LOOP[1], LOOP[2]]
    assert batch.values["filter.forced"] == 2
    again, asked = scripted([], [], [LOOP[0]], [GOOD[0]])
    Filter(Limits(CollapseRule()), 1, 2).draw(Moment(7, None, attempt=1), again)
    assert asked == [2, 3]  # within another filter, whose second attempt it is


@pytest.mark.parametrize(
    ("limits", "log_probs", "entropies", "breaks"),
    [
        (Limits(least_entropy=1.0), (), (0.5,) * 40, True),
        (Limits(least_entropy=1.0), (), (1.5,) * 40, False),
        (Limits(least_perplexity=2.0), (-0.5,) * 40, (), True),
        (Limits(least_perplexity=2.0), (-0.8,) * 40, (), False),
        (Limits(CollapseRule()), (-0.05,) * 40, (), True),
        (Limits(CollapseRule()), (-0.2,) * 40, (), False),
        (Limits(CollapseRule(), least_entropy=9, least_perplexity=99), (), (), False),
    ],
)
def test_limits_of_a_filter(limits, log_probs, entropies, breaks):
    text = Text((0,), GOOD[0], "own", log_probs=log_probs, entropies=entropies)
    assert limits.breaks(text) is breaks


def test_a_filter_takes_further_numbers_of_the_same_update(do, gpt2_dir):
    words = ["source.kind=filter", "source.degenerate=false"]
    run = do(*words, "source.least_entropy=99", "source.most_draws=3")
    assert [row["filter.drawn"] for row in untimed(run)[1:]] == [3] * 6
    assert [row["filter.forced"] for row in untimed(run)[1:]] == [1] * 6
    numbers = rng.uniforms(rng.stream(0, "sample", 1, 2), 1, 40)  # the third draw is kept
    from collapse_lm.inference import inference_network
    from collapse_lm.sampling import Filters, sample

    from conftest import tiny_gpt2

    network = inference_network(tiny_gpt2(), "float32")
    assert sample(network, (START,), numbers, Filters(0.8, 500)).samples[0] == ids_of(run)[0][0]
    passing = do(*words, "source.least_entropy=0.001", "probe.samples=2")
    told = {"filter.drawn": 1, "filter.rejected": 0, "filter.forced": 0}
    assert untimed(passing)[1:] == [{**row, **told} for row in untimed(do("probe.samples=2"))[1:]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source.keep=3", "source.most_draws=2"], "source.keep"),
        (["source.degenerate=false"], "least_entropy"),
        (
            ["sampling.batch_size=4", "source.keep=20", "source.of={kind: filter, keep: 1}"],
            "at most 10, what 10 draws of 1 give",
        ),
        (["source.of={kind: real, order: stream}"], "order stream, the same each time"),
        (["source.of={kind: mix, real: {order: stream}}"], "order stream, the same each time"),
        (
            ["source.of={kind: shuffled, of: {kind: real, order: stream}}"],
            "order stream, the same each time",
        ),
        (["sampling.temperature=0"], "greedy samples, the same each time"),
        (["sampling.top_k=1", "source.of.kind=frozen"], "greedy samples, the same each time"),
    ],
)
def test_a_filter_that_cannot_work_is_refused(words, told, tiny_overrides, tmp_path):
    with pytest.raises(UserError, match=told):
        collapse_lm.run(
            "quickstart",
            tmp_path / "r",
            overrides=[*tiny_overrides, "source.kind=filter", *words],
        )
    assert not (tmp_path / "r").exists()


# --- all of them -------------------------------------------------------------------------------

NESTED = [
    *("source.kind=mix", "source.share=0.3", "source.of.kind=filter", "source.of.most_draws=3"),
    *("source.of.least_entropy=4.88", "source.of.of.kind=replay", "source.of.of.share=0.4"),
]
ALL = {
    "own": [],
    "frozen": ["source.kind=frozen"],
    "real": ["source.kind=real"],
    "stream": ["source.kind=real", "source.order=stream"],
    "shuffled": ["source.kind=shuffled"],
    "mix": ["source.kind=mix"],
    "replay": ["source.kind=replay", "sampling.temperature=0.3"],
    "filter": ["source.kind=filter", "sampling.temperature=0.2", "source.most_draws=4"],
    "nested": NESTED,
    "shuffled replay": [
        *("source.kind=shuffled", "source.of.kind=replay", "source.of.of.kind=frozen"),
    ],
    "replay of mix": ["source.kind=replay", "source.of.kind=mix"],
    "filter of shuffled mix": [
        *("source.kind=filter", "source.of.kind=shuffled", "source.of.of.kind=mix"),
    ],
    "mix with stream": [
        *("source.kind=mix", "source.real.order=stream", "source.of.kind=filter"),
    ],
    "twice": ["source.kind=mix", "source.of.kind=mix", "source.of.share=0.4"],
    "plugin": ["source.kind=replay", f"source.of.kind={PLUGIN}:stream"],
}


def words_of(name, prose_file):
    words = [*ALL[name], "sampling.batch_size=3", "sampling.max_new_tokens=16"]
    if "source.kind=real" in words:
        words.append(f"source.corpus=text:{prose_file}")
    mixes = [word.removesuffix("kind=mix") for word in words if word.endswith("kind=mix")]
    words += [f"{mix}real.corpus=text:{prose_file}" for mix in mixes]
    if name == "plugin":
        words += [f"source.of.path={prose_file}", "source.of.tokens=16"]
    return words


@pytest.mark.parametrize("name", ALL)
def test_three_updates_and_three_more_are_six_bit_for_bit(
    name, do, tiny_overrides, prose_file, tmp_path
):
    words = words_of(name, prose_file)
    whole, seen = do(*words), Seen()
    collapse_lm.run(
        "quickstart",
        tmp_path / "r",
        overrides=[*tiny_overrides, *QUICK, *words],
        observers=[seen],
        should_stop=lambda: seen.updates[-1] == 3,
    )
    collapse_lm.resume(tmp_path / "r")
    assert RunReader(tmp_path / "r").manifest()["resumed_after"] == [3]
    assert untimed(tmp_path / "r") == untimed(whole)
    samples = [(path / "samples.jsonl").read_bytes() for path in (tmp_path / "r", whole)]
    assert samples[0] == samples[1]


def test_every_source_has_as_many_tokens_and_steps_and_its_numbers_are_described(do, prose_file):
    for name in ALL.keys() - {"plugin"}:
        rows = untimed(do(*words_of(name, prose_file)))
        assert {(row["train.tokens"], row["train.steps"]) for row in rows[1:]} == {(48, 1)}, name
        names = {key for row in rows for key in row} - {"update", "nonfinite"}
        assert [key for key in sorted(names) if described(key) is None] == []
        assert all(len(texts) == 3 for texts in texts_of(do(*words_of(name, prose_file))))


COUNTS = {"mix": ("mix.real", "corpus:"), "replay": ("replay.texts", "replay:")}


@pytest.mark.parametrize("name", ALL)
def test_texts_are_counted_as_they_were_trained_on(name, do, prose_file):
    words = words_of(name, prose_file)
    run, kinds = do(*words), {word.partition("kind=")[2] for word in words}
    wanted = dict(COUNTS[kind] for kind in kinds & COUNTS.keys())
    assert len(texts_of(run)) == 6
    for row, texts in zip(untimed(run)[1:], texts_of(run), strict=True):
        origins = [text.origin.replace("shuffled:", "") for text in texts]
        told = {key: row[key] for key, _ in COUNTS.values() if key in row}
        assert told == {
            key: sum(origin.startswith(begin) for origin in origins)
            for key, begin in wanted.items()
        }


def test_nested_sources_did_what_they_are_for(do, prose_file):
    kinds = Counter(
        text.origin.partition(":")[0]
        for texts in texts_of(do(*words_of("nested", prose_file)))
        for text in texts
    )
    assert kinds.keys() == {"own", "corpus", "replay"}
    rows = untimed(do(*words_of("nested", prose_file)))[1:]
    assert all(row["mix.real"] <= 3 for row in rows)
    assert sum(row.get("filter.rejected", 0) for row in rows) > 0
    twice = untimed(do(*words_of("twice", prose_file)))[1:]
    assert sum(row["mix.real"] for row in twice) / 18 == pytest.approx(0.7, abs=0.3)


def test_a_default_of_a_source_counts_for_no_identity():
    plain = load_config("quickstart", ["source.kind=mix"])
    written = load_config(
        "quickstart", ["source={kind: mix, share: 0.5, of: own, real: {corpus: sotu-train}}"]
    )
    other = load_config("quickstart", ["source.kind=mix", "source.of.kind=frozen"])
    assert identity(plain) == identity(written) != identity(other)


# --- probes that are apart ---------------------------------------------------------------------


def row(update, *, loop=None):
    if loop is None:
        return Row(update, {"train.loss": 2.0})
    text = {"text.loop_share": float(loop), "text.seq_rep_4": 0.0, "probe.loss": 2.0}
    return Row(update, {"train.loss": 2.0, **text})


def test_a_collapse_between_probes_is_known_to_the_interval():
    looping = {5: 0, 10: 1, 15: 0, 20: 1, 25: 1, 30: 1}
    rows = [row(u, loop=looping.get(u) if u % 5 == 0 and u else None) for u in range(31)]
    summary = sum_up(rows, CollapseRule(patience=3)).result("finished")
    assert (summary["collapse_after"], summary["collapse_update"]) == (15, 20)
    assert last_probe_before(rows, 20) == 15
    assert last_probe_before(rows, 5) == 0
    assert last_probe_before(rows, None) is None
    at_once = [row(u, loop=1 if u else None) for u in range(4)]
    first = sum_up(at_once, CollapseRule(patience=3)).result("finished")
    assert (first["collapse_after"], first["collapse_update"]) == (0, 1)
    never = sum_up(rows[:20], CollapseRule(patience=3)).result("finished")
    assert never["collapse_after"] is None


def test_own_is_judged_at_the_probes_too_and_tables_tell_since_when(do):
    words = ["probe.every=2", "collapse.patience=2", "collapse.train_loss=99"]
    own, frozen = do(*words), do(*words, "source.kind=frozen")
    for run in (own, frozen):
        judged = [r["update"] for r in untimed(run) if "text.loop_share" in r]
        assert judged == [2, 4, 6]
    found, _ = measure_runs([RunReader(own), RunReader(frozen)])
    assert {(m.outcome.collapse_after, m.outcome.collapse_update) for m in found} == {(0, 2)}
    page = effects_markdown([], [], missing=0, unjudged="", apart=2)
    assert "judged every 2 updates: a collapse began up to 1 updates before" in page
    summary = json.loads((own / "summary.json").read_text())
    assert summary["collapse_after"] == 0


def test_the_shortest_way_to_a_random_place_is_uniform():
    picked = np.bincount(
        [places(0.25, 4, Numbers(9).of(Moment(u, None)))[0] for u in range(1, 2001)], minlength=4
    )
    assert picked == pytest.approx([500] * 4, abs=4 * math.sqrt(375))


def test_the_example_of_the_docs_is_a_nest_of_sources():
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text("utf-8")
    section = page.partition("## Sources")[2].partition("\n## ")[0]
    example, other = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    assert load_config(yaml.safe_load(other)).source.kind == "generations"
    source = load_config(yaml.safe_load(example)).source
    assert [source.kind, source.of.kind, source.of.of.kind] == ["mix", "filter", "replay"]
    named = {kind for kind in SOURCES.kinds() if ":" not in kind}
    assert [kind for kind in named if not re.search(rf"(### |\*\*){kind}\b", section)] == []
