"""Rows and samples on disk: open names, numbers that are none, both formats, tables of them."""

import json
import math

import pytest

import collapse_lm
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import Row, described, label
from collapse_lm.measures.overlap import overlap
from collapse_lm.rundir import RecordError, RunReader
from collapse_lm.rundir.rows import parse_row, parse_sample, row_line, sample_line

DOTTED = "text:my.corpus[1].v2.txt"
VALUES = {
    "train.loss": 1.25,
    "train.tokens": 40,
    "train.grad_norm": math.inf,
    "probe.entropy": math.nan,
    "mine.some.number": -math.inf,
    label("validation.loss", DOTTED): 3.5,
    label("validation.loss", "sotu"): math.nan,
}


def same(one, other):
    return one.keys() == other.keys() and all(
        a == b or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one.values(), other.values())  # noqa: B905
    )


def test_a_row_comes_back_as_it_was_written():
    line = row_line(Row(7, VALUES))
    back = parse_row("updates.jsonl, line 8", line)
    assert back.update == 7
    assert same(back.values, VALUES)
    assert isinstance(back.values["train.tokens"], int)
    found = json.loads(line)
    assert found["nonfinite"] == {
        "train.grad_norm": "inf",
        "probe.entropy": "nan",
        "mine.some.number": "-inf",
        "validation.loss[sotu]": "nan",
    }
    assert found["train.grad_norm"] is None


def test_a_label_may_hold_dots_and_brackets():
    row = Row(1, VALUES)
    assert row.labelled("validation.loss").keys() == {DOTTED, "sotu"}
    assert row.labelled("validation.loss")[DOTTED] == 3.5
    assert row.labelled("validation") == {}


def test_what_a_row_does_not_have_is_not_a_number():
    assert math.isnan(Row(1, {}).get("train.loss"))


def test_a_row_of_format_1_has_the_values_of_today():
    old = {
        "update": 3,
        "train_loss": None,
        "grad_norm": 2.0,
        "lr": 0.1,
        "tokens": 5,
        "validation": {"a.b": {"loss": 3.0, "perplexity": None}},
        "text": {"loop_share": 0.0, "seq_rep_4": None, "loop_period": None},
        "entropy": 1.5,
        "seconds": {"sample": 0.25},
        "forward_passes": 4,
        "applied": False,
        "nonfinite": ["train_loss", "text.seq_rep_4", "validation.a.b.perplexity"],
    }
    wanted = {
        **{"train.loss": math.nan, "probe.loss": math.nan, "train.grad_norm": 2.0},
        **{"train.lr": 0.1, "train.tokens": 5, "draw.entropy": 1.5, "probe.entropy": 1.5},
        **{"draw.forward_passes": 4, "text.loop_share": 0.0, "text.seq_rep_4": math.nan},
        **{"validation.loss[a.b]": 3.0, "validation.perplexity[a.b]": math.nan},
        **{"seconds.sample": 0.25, "train.applied": 0},
    }
    assert same(parse_row("line", json.dumps(old)).values, wanted)


@pytest.mark.parametrize(
    "line",
    [
        '{"update": 1, "train.loss": "low"}',
        '{"update": 1, "train.loss": NaN}',
        '{"update": 1, "train.loss": {"a": 1}}',
        '{"update": -1}',
        '{"train.loss": 1.0}',
        "[]",
        "{",
        '{"update": 1, "validation": {"a": 3}, "train_loss": 1, "text": null, "entropy": 1}',
    ],
)
def test_a_line_that_is_no_row_is_named(line):
    with pytest.raises(RecordError, match=r"updates\.jsonl, line 2"):
        parse_row("updates.jsonl, line 2", line)


def test_texts_come_back_with_prompt_origin_and_log_probabilities():
    own = Text((1, 2), (3, 4), "own", "ab\n\ud800", (-1.23456, -math.inf))
    real = Text((1,), (5,), "corpus:x.y", "c")
    record = Record(Row(4), Batch((real,)), Batch((own,)))
    back = parse_sample("line", sample_line(record))
    assert back.texts == (real,)
    (probe,) = back.probe
    assert (probe.prompt, probe.ids, probe.origin, probe.text) == ((1, 2), (3, 4), "own", own.text)
    assert probe.log_probs[0] == -1.235
    assert math.isnan(probe.log_probs[1])
    assert back.samples == back.probe


def test_what_is_known_of_each_token_comes_back():
    known = {
        "ends": (1, 1, 3),
        "entropies": (0.12345, math.nan, 3.0),
        "base_log_probs": (-1.23456, -math.inf, -2.0),
        "per_token": {"my.surprise": (0.123456, 1e9, math.inf)},
    }
    text = Text((1,), (2, 3, 4), "own", "a\U0001f98ab", **known)
    line = sample_line(Record(Row(1), Batch((text,))))
    (found,) = json.loads(line)["texts"]
    assert found["entropies"] == [0.12, None, 3.0]
    assert found["base_log_probs"] == [-1.235, None, -2.0]
    assert found["per_token"] == {"my.surprise": [0.1235, 1e9, None]}
    (back,) = parse_sample("line", line).texts
    assert back.ends == (1, 1, 3)
    assert back.entropies[::2] == (0.12, 3.0)
    assert math.isnan(back.entropies[1])
    assert back.base_log_probs[0] == -1.235
    assert back.per_token["my.surprise"][:2] == (0.1235, 1e9)


def test_records_of_earlier_releases_know_nothing_of_their_tokens():
    old = {"update": 1, "texts": [{"origin": "own", "prompt": [0], "ids": [1, 2], "text": "ab"}]}
    (text,) = parse_sample("line", json.dumps(old)).texts
    assert (text.ends, text.entropies, text.base_log_probs, text.per_token) == ((), (), (), {})


@pytest.mark.parametrize("ends", [[1], [2, 1], [1, 3], [1, 2, 2]])
def test_ends_that_are_not_those_of_the_text_are_left_out(ends):
    text = {"origin": "own", "prompt": [0], "ids": [1, 2], "text": "ab", "ends": ends}
    assert parse_sample("line", json.dumps({"update": 1, "texts": [text]})).texts[0].ends == ()


@pytest.mark.parametrize(
    "known", [{"entropies": [1.0]}, {"per_token": {"a": [1, 2, 3]}}, {"log_probs": ["low", 1]}]
)
def test_numbers_that_are_not_one_per_token_are_damage(known):
    text = {"origin": "own", "prompt": [0], "ids": [1, 2], "text": "ab", **known}
    with pytest.raises(RecordError, match=r"samples\.jsonl, line 1"):
        parse_sample("samples.jsonl, line 1", json.dumps({"update": 1, "texts": [text]}))


def test_a_batch_that_is_its_probe_is_written_once():
    batch = Batch((Text((1,), (2,), "own", "a", (-0.5,)),))
    line = sample_line(Record(Row(1), batch, batch))
    assert "probe" not in json.loads(line)
    assert parse_sample("line", line).samples == batch.texts


@pytest.fixture(scope="module")
def two_runs(tiny_overrides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = [*tiny_overrides, "run.max_updates=3", "measures=[overlap]"]
    for seed in (0, 1):
        out = folder / "sweep" / f"r{seed}"
        collapse_lm.run("quickstart", out, overrides=[*words, f"seed={seed}"])
    return folder


def test_every_name_that_a_run_writes_is_described(two_runs):
    rows = RunReader(two_runs / "sweep" / "r0").updates()
    names = {name for row in rows for name in row.values}
    assert {"overlap[4]", "probe.loss", "seconds.log_probs", "train.steps"} <= names
    assert [name for name in sorted(names) if described(name) is None] == []


def test_tables_hold_every_run_update_and_text(two_runs):
    tables = collapse_lm.tables(two_runs)
    runs, updates, samples = (tables[name] for name in ("runs", "updates", "samples"))
    assert list(runs["run"]) == ["sweep/r0", "sweep/r1"]
    assert list(runs["seed"]) == [0, 1]
    assert list(runs["training.learning_rate"]) == [3e-3] * 2
    (corpus,) = RunReader(two_runs / "sweep" / "r0").updates()[0].labelled("validation.loss")
    ends = [
        RunReader(two_runs / "sweep" / run).updates()[-1].labelled("validation.loss")[corpus]
        for run in ("r0", "r1")
    ]
    assert list(runs[f"validation_{corpus}_end"]) == ends
    assert list(runs["degenerate_before_training"]) == [False] * 2
    assert len(updates) == 8
    assert len(samples) == 6
    rows = RunReader(two_runs / "sweep" / "r1").updates()
    mine = updates[updates["run"] == "sweep/r1"]
    assert list(mine["update"]) == [0, 1, 2, 3]
    assert list(mine["train.loss"])[1:] == [row.get("train.loss") for row in rows[1:]]


def test_tables_without_pandas_are_plain_rows(two_runs, monkeypatch):
    monkeypatch.setattr("collapse_lm.rundir.frames.find_spec", lambda name: None)
    tables = collapse_lm.tables(str(two_runs / "sweep" / "r0"))
    assert tables["runs"][0]["run"] == "."
    assert tables["updates"][1]["update"] == 1
    assert "pandas" not in str(type(tables["updates"]))


def test_a_run_is_a_data_frame_in_one_line(two_runs):
    path = two_runs / "sweep" / "r0"
    frame = RunReader(str(path)).to_pandas()
    rows = RunReader(path).updates()
    assert list(frame["update"]) == [0, 1, 2, 3]
    assert list(frame["probe.entropy"])[1:] == [row.get("probe.entropy") for row in rows[1:]]
    texts = RunReader(path).to_pandas("samples")
    assert list(texts["text"]) == [row.texts[0].text for row in RunReader(path).samples()]


@pytest.mark.parametrize(
    ("name", "table", "told"),
    [("r0", "rows", "updates or samples"), ("nowhere", "updates", "a run directory")],
)
def test_what_is_no_run_or_no_table_is_told(name, table, told, two_runs):
    with pytest.raises(UserError, match=told):
        RunReader(two_runs / "sweep" / name).to_pandas(table)


def test_without_pandas_a_data_frame_is_refused(two_runs, monkeypatch):
    monkeypatch.setattr("collapse_lm.rundir.frames.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install pandas"):
        RunReader(two_runs / "sweep" / "r0").to_pandas()


def test_a_folder_without_runs_is_told(tmp_path):
    with pytest.raises(UserError, match="a folder that holds runs"):
        collapse_lm.tables(tmp_path)


def test_overlap_is_the_share_of_ngrams_that_stood_before():
    assert overlap([[1, 2, 3, 4]], [[0, 2, 3, 9]], 2) == pytest.approx(1 / 3)
    assert overlap([[1, 2, 1, 2]], [[1, 2]], 2) == pytest.approx(1 / 2)  # distinct: 12, 21
    assert math.isnan(overlap([[1]], [[1]], 2))


def test_log_probabilities_cost_little_by_their_own_stopwatch(two_runs):
    rows = RunReader(two_runs / "sweep" / "r0").updates()[1:]
    phases = ("sample", "probe", "train", "judge", "evaluate")
    whole = sum(row.get(f"seconds.{phase}") for row in rows for phase in phases)
    # On a model of a few thousand parameters, where a step is nearly nothing: under a tenth.
    assert sum(row.get("seconds.log_probs") for row in rows) < 0.1 * whole
