"""An audit of texts: measures equal those of one text at a time, and states are told apart."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import collapse_lm
from collapse_lm import CollapseRule, RunReader, UserError
from collapse_lm.audits import groups as grouping
from collapse_lm.audits.groups import measure
from collapse_lm.audits.levels import first_groups
from collapse_lm.audits.loops import loop_shares
from collapse_lm.audits.packed import Pack, distinct
from collapse_lm.audits.sources.base import Entry
from collapse_lm.audits.together import Pool
from collapse_lm.audits.tokens import Tokens, tokens_of
from collapse_lm.measures import pool, text
from collapse_lm.measures.rule import judge
from collapse_lm.rundir import find_runs

from conftest import PROSE, byte_tokenizer, save, tiny_gpt2

TABLE_1 = json.loads((Path(__file__).parent / "data" / "paper_table1.json").read_text("utf-8"))
WORDS = PROSE.split()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer of bytes, so that lengths are known."""
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def spoken(chance, count=30, words=WORDS):
    return " ".join(chance.choice(words) + chance.choice("abcdefgh") for _ in range(count))


def steps(text_of, groups=10, texts=12):
    """Rows with a step: text_of(step, number, chance) is a text."""
    return [
        {"step": step, "completion": text_of(step, number, random.Random(f"{step}-{number}"))}
        for step in range(1, groups + 1)
        for number in range(texts)
    ]


def audit(path, tokenizer, **settings):
    return collapse_lm.audit(path, **{"tokenizer": tokenizer, "human": None, **settings})


# --- measures equal their definition -----------------------------------------------------------


def texts_of_every_kind(count=600):
    """Random ids with loops of every period, whole or with a fault, at any place; and tiny ones."""
    chance, found = np.random.default_rng(0), []
    for _ in range(count):
        size, kinds = int(chance.integers(0, 400)), int(chance.choice([2, 3, 5, 20, 1000]))
        ids = chance.integers(0, kinds, size)
        for _ in range(int(chance.integers(0, 3)) if size > 8 else 0):
            start = int(chance.integers(0, size))
            length = int(chance.integers(1, size - start + 1))
            period = int(chance.integers(1, 95))
            ids[start : start + length] = np.resize(chance.integers(0, kinds, period), length)
        if size and chance.random() < 0.3:
            ids[chance.integers(0, size)] = kinds + 1
        found.append(ids.tolist())
    return found


def by_definition(ids):
    """The longest run of one period: of several the smallest period, then the earliest run."""
    found = None
    for period in range(1, len(ids) // 4 + 1):
        start = 0
        for place in range(period, len(ids) + 1):
            if place < len(ids) and ids[place] == ids[place - period]:
                continue
            run = (place - start, period, start)
            if run[0] >= max(2 * period, 4) and (found is None or run[0] > found[0]):
                found = run
            start = place + 1 - period
    return found


def test_a_loop_is_the_longest_run_of_one_period():
    for ids in texts_of_every_kind(150):
        loop = text.find_loop(ids)
        assert (loop and (loop.length, loop.period, loop.start)) == by_definition(ids)


def test_measures_of_many_texts_are_those_of_each():
    texts = texts_of_every_kind()
    for start in range(0, len(texts), 200):
        part = texts[start : start + 200]
        pack = Pack.of(part)
        shares, periods = loop_shares(pack)
        loops = [text.find_loop(ids) for ids in part]
        assert shares.tolist() == [loop.share if loop else 0 for loop in loops]
        assert periods.tolist() == [loop.period if loop else 0 for loop in loops]
        for n in (1, 2, 3, 4):
            wanted = [text.distinct(ids, n) for ids in part]
            assert distinct(pack, n).tolist() == pytest.approx(wanted, nan_ok=True)


def test_long_periods_and_long_texts():
    chance = np.random.default_rng(1)
    for period in (1, 33, 97, 500, 999):
        ids = chance.integers(0, 50_000, 4000)
        ids[700:3500] = np.resize(chance.integers(0, 50_000, period), 2800)
        ids[3600:3700] = 7
        shares, periods = loop_shares(Pack.of([ids.tolist(), ids[::-1].tolist()]))
        for place, one in enumerate((ids, ids[::-1])):
            loop = text.find_loop(one.tolist())
            assert (shares[place], periods[place]) == (loop.share, loop.period)


def test_several_texts_together_are_measured_as_in_a_run():
    ours, theirs = Pool(), pool.Pool()
    texts = texts_of_every_kind(80)
    for start in range(0, 80, 8):
        part = texts[start : start + 8]
        told = ours.see([np.array(ids, np.uint32) for ids in part])
        assert told == pytest.approx(theirs.see(part))


def test_a_group_is_the_mean_of_its_texts(tokenizer):
    texts = [PROSE, PROSE[:50] * 4, "", "ab" * 60, PROSE]
    (group,) = measure([Entry(one) for one in texts], tokens_of(tokenizer), CollapseRule())
    values = group.values()
    assert values["texts.count"] == 5
    assert values["probe.length"] == sum(map(len, texts)) / 5
    assert values["texts.equal"] == pytest.approx(1 / 5)
    assert values["probe.degenerate_share"] == pytest.approx(2 / 5)
    known = [one for one in texts if one]
    wanted = sum(text.compression(one) for one in known) / 4
    assert values["text.compression"] == pytest.approx(wanted)
    wanted = [text.seq_rep(tokens_of(tokenizer).ids([one])[0]) for one in known]
    assert values["text.seq_rep_4"] == pytest.approx(sum(wanted) / 4)


# --- states ------------------------------------------------------------------------------------


def healthy(step, number, chance):
    return spoken(chance)


def test_sound_texts_show_nothing(tmp_path, tokenizer):
    found = audit(write(tmp_path / "a.jsonl", steps(healthy)), tokenizer)
    assert (found.states, found.broken_at_start, found.texts) == ({}, False, 120)
    assert found.findings == ("none of loop, mode, shrink",)
    assert "base_samples.overlap" in found.start


def test_a_loop_has_its_onset(tmp_path, tokenizer):
    def text_of(step, number, chance):
        return "again and " * 20 if step >= 6 and number % 3 else spoken(chance)

    found = audit(write(tmp_path / "a.jsonl", steps(text_of)), tokenizer)
    assert found.states["loop"] == "6"
    assert "67% of its texts are degenerate (at the start 0%)" in found.findings[0]


def test_one_bad_group_is_no_state(tmp_path, tokenizer):
    def text_of(step, number, chance):
        return "again and " * 20 if step == 6 else spoken(chance)

    assert "loop" not in audit(write(tmp_path / "a.jsonl", steps(text_of)), tokenizer).states


def test_varied_texts_that_are_always_the_same_are_in_the_state_mode(tmp_path, tokenizer):
    def text_of(step, number, chance):
        return spoken(random.Random(number) if step >= 5 else chance)

    found = audit(write(tmp_path / "a.jsonl", steps(text_of)), tokenizer)
    assert found.states == {"mode": "6"}  # at 5 nothing of it stood before
    assert "of its 4-grams stood in the five groups before" in found.findings[0]


def test_a_narrow_task_is_judged_by_its_own_start(tmp_path, tokenizer):
    """Answers that always repeat a frame are no mode, if they did so from the start."""
    frame = "Let us think step by step about the question that was asked. The answer is "

    def text_of(step, number, chance):
        return frame + spoken(chance, 6)

    found = audit(write(tmp_path / "a.jsonl", steps(text_of)), tokenizer)
    overlaps = [group.values.get("pool.overlap", 0.0) for group in found.groups]
    assert max(overlaps) > 0.5  # more than the bound without levels
    assert found.states == {}


def letters(chance, count):
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=count))


@pytest.mark.parametrize(("long_until", "onset"), [(0, "7"), (7, "12"), (20, None)])
def test_few_different_4_grams_without_a_level_are_a_mode_in_short_texts_alone(
    tmp_path, tokenizer, long_until, onset
):
    """From group 5 on each text repeats a phrase of its own; one text a group is no level.

    With a text of 600 tokens among the last five they say nothing: samples of that length do it
    untrained.
    """

    def text_of(step, number, chance):
        size = 600 if step <= long_until else 300
        return (letters(chance, 25) * 24)[:size] if step >= 5 else letters(chance, size)

    rows = steps(text_of, groups=20, texts=1)
    found = audit(write(tmp_path / "a.jsonl", rows), tokenizer)
    assert any(note.startswith("mode: too few texts in the first") for note in found.notes)
    assert found.states.get("mode") == onset
    told = [line for line in found.findings if line.startswith("mode")]
    assert len(told) == (onset is not None)
    assert all("distinct 4-grams (at the start 100%)" in line for line in told)


def test_a_mode_of_long_texts_is_not_said_to_be_one_of_few_4_grams(tmp_path, tokenizer):
    """Phrases of their own up to group 7, in long texts; then the same one, in short ones."""

    def text_of(step, number, chance):
        return "the same words " * 20 if step >= 8 else letters(chance, 25) * 24

    rows = steps(text_of, groups=20, texts=1)
    found = audit(write(tmp_path / "a.jsonl", rows), tokenizer)
    (told,) = (line for line in found.findings if line.startswith("mode from 9 on"))
    assert "of its 4-grams stood in the five groups before" in told
    assert "distinct 4-grams" not in told


def test_answers_that_get_short_shrink(tmp_path, tokenizer):
    def text_of(step, number, chance):
        return spoken(chance, 60 if step < 7 else 3)

    found = audit(write(tmp_path / "a.jsonl", steps(text_of)), tokenizer)
    assert found.states == {"shrink": "7"}


def test_empty_answers_shrink_too(tmp_path, tokenizer):
    rows = steps(lambda step, number, chance: "" if step > 4 else spoken(chance))
    found = audit(write(tmp_path / "a.jsonl", rows), tokenizer, out=tmp_path / "r")
    assert found.states == {"shrink": "5"}
    assert math.isnan(RunReader(tmp_path / "r").updates()[-1].get("text.seq_rep_4"))


def test_what_was_broken_at_the_start_is_told_so(tmp_path, tokenizer):
    rows = steps(lambda step, number, chance: "!" * 80)
    found = audit(write(tmp_path / "a.jsonl", rows), tokenizer)
    assert found.broken_at_start
    assert found.states["loop"] == "1"
    assert found.findings[0].startswith("loop, broken at the start: 100% of its texts")


def test_the_paper_s_table_1_loops_from_its_example_100_on(tmp_path):
    rows = [{"iteration": int(key.split()[0]), "text": one} for key, one in TABLE_1.items()]
    found = collapse_lm.audit(write(tmp_path / "t.jsonl", rows), by="iteration")
    assert [group.name for group in found.groups] == ["0", "50", "100", "133"]
    assert found.states == {"loop": "100"}
    assert [group.states for group in found.groups][:2] == [(), ()]


def test_paragraphs_of_an_address_show_nothing_as_groups_and_as_one(tmp_path):
    address = collapse_lm.audits.levels._held_out()
    rows = [{"text": one} for one in address.split("\n\n") if len(one) > 80]
    found = collapse_lm.audit(write(tmp_path / "a.jsonl", rows), by=None)
    assert found.states == {}
    alone = collapse_lm.audit(write(tmp_path / "b.jsonl", rows[:20]))
    assert (len(alone.groups), alone.states) == (1, {})


def test_a_single_group_is_judged_against_human_text(tmp_path):
    def one(name, texts):
        return collapse_lm.audit(write(tmp_path / f"{name}.jsonl", [{"text": t} for t in texts]))

    loops = one("loops", ["say it again and again and " * 8] * 3 + [PROSE])
    assert loops.states["loop"] == "1"
    assert any("human text" in line for line in loops.findings)
    assert any(line.startswith("shrink: not to be told of one group") for line in loops.notes)
    assert one("equal", [PROSE] * 8).states == {"mode": "1"}


@pytest.fixture(scope="module")
def trained_dir(tmp_path_factory):
    """A tiny model that has learned what follows what in the prose."""
    torch.manual_seed(0)
    network = tiny_gpt2().train()
    ids = torch.tensor(byte_tokenizer()(PROSE * 2)["input_ids"])
    steps_of = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(100):
        part = torch.stack([ids[s : s + 64] for s in range(step % 7, 140, 30)])
        loss = network(input_ids=part, labels=part).loss
        steps_of.zero_grad()
        loss.backward()
        steps_of.step()
    return str(save(network.eval(), tmp_path_factory.mktemp("models") / "trained"))


def test_noise_is_seen_by_a_model_that_reads_the_texts(tmp_path, trained_dir, prose_file):
    """Samples of one model, at temperature .5 and from step 4 on at 3."""
    rows = []
    for step in range(1, 7):
        heat = 0.5 if step < 4 else 3.0
        settings = {"temperature": heat, "max_new_tokens": 60, "seed": step, "samples": 4}
        drawn = collapse_lm.sample(trained_dir, precision="float32", **settings)
        rows += [{"step": step, "text": one.text} for one in drawn.texts]
    path = write(tmp_path / "a.jsonl", rows)
    found = collapse_lm.audit(path, model=trained_dir, human=f"text:{prose_file}")
    assert found.states["noise"] == "4"
    assert found.human["score.loss"] < found.groups[-1].values["score.loss"] - 0.5
    assert f"nats/token under {trained_dir}" in found.findings[list(found.states).index("noise")]
    without = audit(path, trained_dir)
    assert "noise" not in without.states
    assert any(note.startswith("noise: not to be told without") for note in without.notes)


def test_the_score_is_the_loss_of_each_token_after_the_start_token(trained_dir):
    from collapse_lm.audits.score import Scorer

    scorer = Scorer(trained_dir)
    texts = [np.array(ids, np.uint32) for ids in scorer.tokens.ids([PROSE[:90], "Hi", ""])]
    told = scorer.score(texts)
    network = collapse_lm.load_model(trained_dir).network.requires_grad_(False)
    losses, entropies = [], []
    for ids in texts[:2]:
        fed = torch.tensor([[256, *ids.astype(int)]])
        log_p = network(fed).logits[0, :-1].double().log_softmax(-1)
        losses += [-float(log_p[at, token]) for at, token in enumerate(fed[0, 1:])]
        entropies += (-(log_p.exp() * log_p).sum(-1)).tolist()
    assert told["score.loss"] == pytest.approx(sum(losses) / len(losses), rel=0.02)
    assert told["score.entropy"] == pytest.approx(sum(entropies) / len(entropies), rel=0.02)


def test_a_run_directory_is_judged_as_the_run_was(tmp_path, trained_dir, tiny_overrides):
    """What is drawn here is plain ASCII, mostly: read again, it is the same tokens."""
    words = [*tiny_overrides, f"model={trained_dir}", "training.learning_rate=1e-2"]
    words += ["run.max_updates=25", "collapse.train_loss=0", "evaluation.every=100"]
    run = collapse_lm.run("quickstart", tmp_path / "r", overrides=[*words, "run.report=false"])
    reader, rule = RunReader(run.directory), CollapseRule(train_loss=0)
    rows, verdict = reader.updates(), judge(reader.updates(), rule)
    found = audit(run.directory, trained_dir, rule=rule)
    tokens, same = tokens_of(trained_dir), 0
    for sample, group in zip(reader.samples(), found.groups, strict=True):
        (drawn,) = sample.texts
        if tokens.ids([drawn.text])[0] == list(drawn.ids):
            same += 1
            told = {name: rows[sample.update].get(name) for name in group.values if "text." in name}
            assert told == pytest.approx({name: group.values[name] for name in told}, nan_ok=True)
    assert same > len(found.groups) / 2
    assert verdict.collapsed
    assert found.states["loop"] == str(verdict.collapse_update)


# --- levels ------------------------------------------------------------------------------------


def test_as_many_texts_are_looked_at_together_as_make_six_groups_of_the_baseline(tokenizer):
    entries = [Entry(spoken(random.Random(i)), 1 + i // 20) for i in range(100)]
    groups = measure(entries, tokens_of(tokenizer), CollapseRule())
    baseline = first_groups(groups, 2)
    assert (baseline.told, baseline.size) == ("the first 2 groups", 40 // 6)
    known = [ids[: baseline.length].tolist() for ids in baseline.kept][:36]
    dealt = [known[i : i + 6] for i in range(0, 36, 6)]
    theirs, overlaps = pool.Pool(), []
    for place, part in enumerate([*dealt, *dealt[:5]]):
        told = theirs.see(part)
        overlaps += [told["pool.overlap"]] if place >= 5 else []
    assert baseline.values["base_samples.overlap"] == pytest.approx(sum(overlaps) / 6)
    assert first_groups(groups[:3], 2).told == "the first group"
    assert first_groups(groups[:1], 2).groups == ()


def test_other_texts_can_be_the_baseline(tmp_path, tokenizer):
    rows = steps(lambda step, number, chance: spoken(chance, 3))
    short = write(tmp_path / "a.jsonl", rows)
    before = write(tmp_path / "b.jsonl", steps(lambda s, n, c: spoken(c, 60), groups=2))
    assert audit(short, tokenizer).states == {}
    found = audit(short, tokenizer, baseline=before)
    assert (found.states, found.baseline) == ({"shrink": "1"}, str(before))
    alone = write(tmp_path / "c.jsonl", [{"text": row["completion"]} for row in rows[:10]])
    assert audit(alone, tokenizer, baseline=before, rule=CollapseRule(patience=1)).states == {
        "shrink": "1"
    }


def test_few_texts_are_kept_of_many_groups(tokenizer, monkeypatch):
    monkeypatch.setattr(grouping, "_MOST_KEPT", 5_000)
    monkeypatch.setattr(grouping, "_MOST_SHOWN", 8_000)
    monkeypatch.setattr(grouping, "_CHUNK", 2_000)
    entries = [Entry(spoken(random.Random(i)), i % 10) for i in range(400)]
    groups = measure(entries, tokens_of(tokenizer), CollapseRule())
    assert sum(len(ids) for group in groups for ids in group.kept) <= 5_000
    assert sum(len(one.text) for group in groups for one, _ in group.shown) <= 8_000
    assert {len(group.kept) for group in groups} <= {1, 2, 3}
    assert {len(group.shown) for group in groups} == {4}
    assert [group.count for group in groups] == [40] * 10
    monkeypatch.setattr(grouping, "_MOST_GROUPS", 9)
    with pytest.raises(UserError, match="more than 9 groups"):
        measure(entries, tokens_of(tokenizer), CollapseRule())


def test_a_cut_length_is_told_where_many_texts_have_it(tmp_path, tokenizer):
    rows = steps(lambda s, n, c: spoken(c, 60)[:200] if n % 2 else spoken(c, 8))
    found = audit(write(tmp_path / "a.jsonl", rows), tokenizer)
    assert [group.values["texts.clipped"] for group in found.groups] == [0.5] * 10
    varied = audit(write(tmp_path / "b.jsonl", steps(lambda s, n, c: spoken(c))), tokenizer)
    assert "texts.clipped" not in varied.groups[0].values


# --- the record --------------------------------------------------------------------------------


def test_the_record_is_a_run_directory_that_readers_read(tmp_path, tokenizer):
    rows = steps(lambda s, n, c: "so it is " * 20 if s > 60 else spoken(c), groups=9)
    for row in rows:
        row |= {"step": 10 * row["step"], "prompt": "What is it?"}
    rows = [row | {"completion": "so it is " * 20} if row["step"] > 60 else row for row in rows]
    path = write(tmp_path / "a.jsonl", rows)
    found = audit(path, tokenizer, out=tmp_path / "r", report=tmp_path / "page.html")
    (reader,) = find_runs(tmp_path)
    assert (found.record, found.report) == (reader.path, tmp_path / "page.html")
    assert [row.update for row in reader.updates()] == [0, *range(10, 91, 10)]
    assert reader.summary()["collapse_update"] == 70
    assert reader.summary()["endings"]["loop"]["entered"] == 70
    assert reader.manifest()["made_by"] == "audit"
    first = reader.samples()[0]
    assert (first.update, len(first.probe), first.probe[0].prompt_text) == (10, 8, "What is it?")
    assert first.probe[0].text == rows[0]["completion"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Loop from 70 on" in page
    assert "collapse-lm audit" in page
    with pytest.raises(UserError, match="already holds a run"):
        audit(path, tokenizer, out=tmp_path / "r")


def test_a_single_group_has_a_record_too(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "and so on " * 30}] * 3)
    found = collapse_lm.audit(path, out=tmp_path / "r")
    assert RunReader(tmp_path / "r").summary()["collapse_update"] == 1
    assert found.to_dict()["groups"][0]["states"] == ["loop", "mode"]
    assert len(found.to_pandas()) == 1


def test_tokens_are_gpt2_s_and_without_its_package_the_option_is_named(monkeypatch, tokenizer):
    assert tokens_of(None).ids(["Hello world", "\ud83d\ude00 \ud800"]) == [
        [15496, 995],
        tokens_of(None).ids(["\U0001f600 \ufffd"])[0],
    ]
    assert isinstance(tokens_of(tokenizer), Tokens)
    assert tokens_of(f"{tokenizer}/tokenizer.json").ids(["ab"]) == [[64, 65]]
    monkeypatch.setattr("collapse_lm.audits.tokens.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--tokenizer FOLDER"):
        tokens_of(None)
    with pytest.raises(UserError, match="tokenizer /nowhere"):
        tokens_of("/nowhere")
