"""The page of runs: what it says of a run, that it holds the record, and that it tells no more."""

import base64
import hashlib
import html
import json
import math
import os
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_dirs import HOSTILE, sweep, write_run

import collapse_lm
from collapse_lm.cli.show import has_display
from collapse_lm.errors import UserError
from collapse_lm.experiment.batch import Batch, Record, Text
from collapse_lm.measures.names import NAMES, Row
from collapse_lm.report.page import render
from collapse_lm.report.page.blocks import inlined_size, number, pack, script_json, unpack
from collapse_lm.report.page.build import PageMaker, make_page
from collapse_lm.report.page.columns import Columns
from collapse_lm.report.page.names import panels_of, title_of
from collapse_lm.report.page.private import clean, cleaned
from collapse_lm.report.page.render import render_report, render_view
from collapse_lm.report.page.samples import Samples, fair_shares, thin
from collapse_lm.report.page.svg import Line, chart, ticks
from collapse_lm.report.page.tokens import shades, shown_text, utf16_offsets
from collapse_lm.report.page.write import write_report
from collapse_lm.rundir import SampleRow
from collapse_lm.rundir.rows import sample_line

from commands import call, settings
from hostile import call as call_here

FORMAT_1 = Path(__file__).parent / "golden" / "format1"


def page_of(*paths, **options):
    return make_page(list(paths), **options).content


# --- blocks and tokens -------------------------------------------------------------------------


def test_equal_values_give_equal_blocks_and_come_back():
    value = {"text": "é\U0001f98a\x1b</script>", "n": [None, 1.5]}
    assert pack(value) == pack(value)
    assert unpack(pack(value)) == value


def test_a_lone_surrogate_comes_back_from_a_block():
    assert unpack(pack({"text": "a\ud800b"})) == {"text": "a\ud800b"}


def test_a_backslash_before_a_lone_surrogate_stays_one():
    assert unpack(pack({"text": "\\\ud800"})) == {"text": "\\\ud800"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(math.nan, None), (math.inf, None), (None, None), (3, 3), (2.0, 2), (1 / 3, 0.333333)],
)
def test_numbers_have_six_digits_and_null_stands_for_what_is_none(given, wanted):
    assert number(given) == wanted


def test_json_in_a_page_cannot_end_its_element():
    text = script_json({"</script><script>": "<!-- & \u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"</script><script>": "<!-- & \u2028\u2029"}


def test_each_token_has_one_character_that_needs_no_escape():
    every = shades([level / 10 for level in range(91)])
    assert len(set(every)) == len(every) == 91
    assert json.dumps(every, ensure_ascii=False) == f'"{every}"'
    assert shades([0.0, 100.0, -0.01, math.nan, math.inf]) == "#~#!!"


def test_offsets_count_as_javascript_does():
    text = "a\U0001f98ab"
    assert utf16_offsets(text, [1, 2, 3]) == [1, 3, 4]
    assert utf16_offsets("abé", [1, 3]) == [1, 3]


def test_what_was_not_recorded_of_a_text_is_absent():
    plain = shown_text(Text((0,), (1, 2), "own", "ab"), "probe")
    assert plain == {"origin": "own", "role": "probe", "prompt": "", "text": "ab"}
    text = Text((0,), (1, 2), "own", "ab", (-0.5, -20.0), ends=(1, 2), entropies=(1.0, math.nan))
    found = shown_text(text, "trained on")
    assert (found["ends"], found["p"], found["h"]) == ([1, 2], "(~", "-!")


# --- what a page must not tell -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("/home/ada/runs/x", "~/runs/x"),
        ("text:/Users/ada/a b.txt", "text:~/a b.txt"),
        ("/root", "~"),
        ("--set model=/mnt/ada/models/gpt2", "--set model=.../gpt2"),
        (r"C:\Users\ada\x.txt", r"~\x.txt"),
        (r"D:\data\x.txt", ".../x.txt"),
        (r"\\server\share\x.txt", ".../x.txt"),
        ("//server/share/x.txt", ".../x.txt"),
        ("validation.loss[text:/srv/ada/x.txt]", "validation.loss[text:.../x.txt]"),
        ("nats/token and 1/2 and a/b/c", "nats/token and 1/2 and a/b/c"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("../ladder/64x2", "../ladder/64x2"),
        ("../root/64x2", "../root/64x2"),
        ("model=../../home/ada/models/gpt2", "model=~/models/gpt2"),
        ("file:///home/ada", "~"),
        ("AMD EPYC (AVX512-BF16)", "AMD EPYC (AVX512-BF16)"),
    ],
)
def test_homes_and_folders_are_taken_out(given, wanted):
    assert clean(given) == wanted
    assert clean(wanted) == wanted


def test_keys_and_lists_are_cleaned_too():
    assert cleaned({"/home/ada/x": ["/home/ada/y", 1]}) == {"~/x": ["~/y", 1]}


def test_two_corpora_of_one_name_stay_apart():
    columns = Columns()
    columns.add(Row(0, {"validation.loss[text:/a/b/x]": 1.0, "validation.loss[text:/a/c/x]": 2.0}))
    assert columns.values == {
        "validation.loss[text:.../x]": [1],
        "validation.loss[text:.../x #2]": [2],
    }


def test_no_home_and_no_folder_of_a_run_stands_in_its_page(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = f"text:{tmp_path}/secret/prose.txt"
    place = tmp_path / "runs" / "one"
    write_run(place, collapse=8, corpora=(corpus,), model=f"{tmp_path}/models/tiny")
    write_run(tmp_path / "runs" / "two", model="/srv/ada/tiny", corpora=(corpus,), seed=1)
    for paths in ([place], [tmp_path / "runs"]):
        page = make_page(paths)
        shown = render_report(page) + "".join(str(unpack(b)) for b in page.blocks.values())
        assert str(tmp_path) not in shown
        assert "/srv/ada" not in shown
        assert "text:~/secret/prose.txt" in shown


# --- columns and samples -----------------------------------------------------------------------


def test_columns_are_as_long_as_there_are_rows():
    columns = Columns()
    for row in (Row(0, {"a": 1.0}), Row(1, {"b": math.nan}), Row(2, {"a": 2.0, "b": 3})):
        columns.add(row)
    assert columns.values == {"a": [1, None, 2], "b": [None, None, 3]}
    assert (columns.first("b"), columns.last("a"), columns.lowest("a")) == (3, 2, 1)
    assert columns.at_or_after("a", 1) == 2
    assert math.isnan(columns.last("c"))


def test_the_dose_sums_rates_over_the_steps_that_were_applied():
    columns = Columns()
    rows = ({}, {"train.lr": 0.1}, {"train.lr": 0.1, "train.steps": 3}, {"train.lr": 0.1})
    for update, values in enumerate(rows):
        columns.add(Row(update, values))
    columns.add(Row(4, {"train.lr": 0.1, "train.applied": 0}))
    assert columns.dose() == [0, 0.1, 0.4, 0.5, 0.5]
    assert Columns().dose() is None


def test_a_spark_has_the_first_value_and_the_last():
    columns = Columns()
    for update in range(500):
        columns.add(Row(update, {"a": update}))
    spark = columns.spark("a")
    assert (len(spark), spark[0], spark[-1]) == (40, 0, 499)


def samples_of(count, text=lambda update: f"text of update {update}"):
    found = Samples()
    for update in range(1, count + 1):
        found.add(SampleRow(update, (Text((0,), (1,), "own", text(update)),)))
    return found


def test_samples_lie_in_blocks_in_order():
    found = samples_of(95)
    assert [count for _, count in found.blocks()] == [40, 40, 15]
    assert found.at(41)[0]["text"] == "text of update 41"
    assert [update for update, _ in found.texts()] == found.updates == list(range(1, 96))


def test_thinned_samples_fit_and_keep_what_is_near_a_state():
    whole = samples_of(1000, lambda u: hashlib.sha256(str(u).encode()).hexdigest() * 10)
    found = thin(whole, whole.size() // 5, [600])
    assert found.size() <= whole.size() // 5
    assert found.thinned
    assert {1, 1000, *range(590, 611)} <= set(found.updates)
    early = sum(update <= 100 for update in found.updates)
    assert early > sum(800 < update <= 900 for update in found.updates)
    assert found.at(600)[0] == whole.at(600)[0]


def test_samples_that_fit_stay_as_they_are():
    whole = samples_of(50)
    assert thin(whole, whole.size(), [10]) is whole


def test_a_budget_is_shared_by_those_that_need_more_than_their_part():
    assert fair_shares([10, 100, 100], 110) == [10, 50, 50]
    assert fair_shares([1, 2], 100) == [1, 2]


def test_a_page_over_its_budget_says_what_it_left_out(tmp_path):
    write_run(tmp_path / "run", collapse=150, updates=200)
    whole = make_page([tmp_path / "run"]).blocks
    budget = inlined_size(whole.values()) - inlined_size([whole["samples-r0-0"]])
    maker = PageMaker([tmp_path / "run"], most_bytes=budget)
    maker.refresh()
    page = maker.page()
    assert inlined_size(page.blocks.values()) <= budget
    assert page.content["runs"][0]["samples"]["thinned"]
    assert any("samples of some updates only" in notice for notice in page.content["notices"])


# --- names -------------------------------------------------------------------------------------


def test_every_name_that_we_write_has_a_panel_of_its_own_kind():
    shown = {name for panel in panels_of(list(NAMES)) for name in panel["names"]}
    assert set(NAMES) - shown == {"validation.change_se", "train.applied"}


def test_names_of_measures_and_of_the_last_probes_are_told_in_words():
    families = ("prefix.", "types.", "pool.", "dose.", "probe.", "draw.", "ema.")
    names = [name for name in NAMES if name.startswith(families)]
    spelled = {name: name.replace(".", " ").replace("_", " ") for name in names}
    plain = [name for name in names if title_of(name) == spelled[name]]
    assert [name for name in plain if not name.endswith("forward_passes")] == []
    titles = {name: panel["title"] for panel in panels_of(names) for name in panel["names"]}
    assert titles["pool.overlap"] == "Overlap with the last samples"
    assert titles["prefix.top1"] == titles["probe.top1"] == "Probability of the likeliest token"
    assert titles["prefix.kl"] == "Against the base model, at fixed prefixes"
    assert titles["types.zipf_slope"] == "Zipf slope of the last five probes"


def test_a_probe_that_is_the_batch_is_not_drawn_twice(tmp_path):
    write_run(tmp_path / "own", collapse=8)
    panels = {panel["id"]: panel["names"] for panel in page_of(tmp_path / "own")["panels"]}
    assert panels["loss"] == ["train.loss", "validation.loss[sotu]"]
    assert panels["entropy"] == ["probe.entropy"]
    rows = tmp_path / "own" / "updates.jsonl"
    rows.write_text(rows.read_text().replace('"probe.loss": 0.05', '"probe.loss": 0.06'))
    panels = {panel["id"]: panel["names"] for panel in page_of(tmp_path / "own")["panels"]}
    assert panels["loss"] == ["train.loss", "validation.loss[sotu]", "probe.loss"]


def test_names_that_nobody_knows_come_last_by_their_first_part():
    panels = panels_of(["theirs.a", "train.loss", "theirs.b[x]", "loss.c"])
    assert [(p["id"], p["names"]) for p in panels] == [
        ("loss", ["train.loss"]),
        ("theirs", ["theirs.a", "theirs.b[x]"]),
        ("other-loss", ["loss.c"]),
    ]
    assert title_of("theirs.some_thing[x.y]") == "theirs some thing (x.y)"


# --- verdicts ----------------------------------------------------------------------------------


def verdict(tmp_path, **options):
    write_run(tmp_path / "run", **options)
    return page_of(tmp_path / "run")["runs"][0]


def test_a_collapse_is_told_with_its_criterion_and_its_cost(tmp_path):
    run = verdict(tmp_path, collapse=8)
    assert run["verdict"] == (
        "Collapsed at update 8: 90 % of the sample lies in a loop, the first of five degenerate "
        "samples in a row. Validation loss on sotu rose from 3.000 (base model) to 3.080 at the "
        "collapse and 3.120 nats/token at the end."
    )
    assert [n["value"] for n in run["numbers"]] == ["update 8", "3.120", "0.90"]
    assert run["numbers"][1]["reference"] == "base model 3.000 nats/token"
    assert run["end"]["collapse_update"] == 8


def test_a_collapse_into_certainty_names_the_loss(tmp_path):
    told = verdict(tmp_path, collapse=8, repetitive=False)["verdict"]
    assert "its loss under the model that drew it is 0.050 nats/token" in told


def test_a_run_without_a_collapse_is_censored(tmp_path):
    run = verdict(tmp_path)
    assert run["verdict"].startswith("No collapse in 30 updates; the run is censored there.")
    assert run["numbers"][0]["value"] == "none in 30 updates"


def test_degenerate_before_training_is_no_collapse_of_training(tmp_path):
    run = verdict(tmp_path, collapse=1)
    assert run["verdict"].startswith("Degenerate before any training: 90 % of the sample")
    assert run["numbers"][0]["value"] == "before training"
    assert run["numbers"][0]["reference"].endswith("degenerate")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"diverged": True}, "Diverged at update 30: a loss or gradient was not finite."),
        ({"status": "interrupted"}, "Interrupted after 30 updates, without a collapse so far."),
        ({"status": "failed"}, "Failed after 30 updates, without a collapse so far."),
        ({"status": "running"}, "Its process ended without a word after 30 updates"),
        ({"status": "interrupted", "collapse": 8}, "It was interrupted after update 12."),
    ],
)
def test_every_end_is_told(tmp_path, options, told):
    assert told in verdict(tmp_path, **options)["verdict"]


def test_a_run_without_any_update_has_a_page(tmp_path):
    write_run(tmp_path / "run", updates=0)
    assert "No collapse in 0 updates" in render_report(make_page([tmp_path / "run"]))


def test_states_to_jump_to(tmp_path):
    run = verdict(tmp_path, collapse=8, validation=lambda u, c: 3 + (u - 4) ** 2)
    assert [(s["name"], s["update"]) for s in run["states"]] == [("collapse", 8), ("lowest", 4)]


def test_human_text_is_the_reference_where_it_was_recorded(tmp_path):
    write_run(tmp_path / "run", collapse=8)
    manifest = tmp_path / "run" / "manifest.json"
    found = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**found, "human": {"text.loop_share": 0.01}}))
    run = page_of(tmp_path / "run")["runs"][0]
    assert run["references"]["human"] == {"text.loop_share": 0.01}
    assert run["numbers"][2]["reference"] == "human text 0.01, base model 0.00"


# --- one run -----------------------------------------------------------------------------------


def test_a_page_of_a_run_holds_its_rows_and_samples(tmp_path):
    write_run(tmp_path / "run", collapse=8, text=HOSTILE)
    page = make_page([tmp_path / "run"])
    run = page.content["runs"][0]
    rows = unpack(page.blocks[run["rows"]])
    assert rows["update"] == list(range(13))
    assert rows["columns"]["train.loss"][:2] == [None, 2.63125]
    (identity, first, last), *more = run["samples"]["blocks"]
    assert (first, last, more) == (0, 12, [])
    assert unpack(page.blocks[identity])["samples"][4][0]["text"] == f"{HOSTILE} 5"
    assert page.content["kind"] == "run"
    assert page.content["compare"] == []


def test_equal_records_give_equal_pages(tmp_path):
    write_run(tmp_path / "a" / "run", collapse=8)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    pages = [render_report(make_page([tmp_path / name / "run"])) for name in "ab"]
    assert pages[0] == pages[1]


def test_the_command_does_the_same_run_again(tmp_path):
    write_run(tmp_path / "run", rate=3e-5, seed=4, overrides=["sampling.prompt=it's $HOME"])
    run = page_of(tmp_path / "run")["runs"][0]
    words = shlex.split(run["command"])
    assert words[:3] == ["collapse-lm", "run", "quickstart"]
    config = collapse_lm.load_config("quickstart", words[4::2])
    assert config == collapse_lm.load_config(tmp_path / "run")
    assert ["training.learning_rate", "3e-05", "0.0001"] in run["difference"]


def test_what_no_command_can_hand_over_is_told_behind_it(tmp_path):
    write_run(tmp_path / "run", model="/srv/ada/tiny")
    config = tmp_path / "run" / "config.yaml"
    source = "source:\n  kind: python\n  name: mine:Source\n"
    config.write_text(config.read_text().replace("source:\n  kind: own\n", source))
    told = page_of(tmp_path / "run")["runs"][0]["command"]
    assert told.endswith("  # source was handed over from Python; paths are shortened")
    assert "--set model=.../tiny" in told
    assert "mine:Source" not in told


def test_a_run_of_format_1_is_shown_and_what_it_lacks_is_told():
    page = page_of(FORMAT_1 / "run")
    run = page["runs"][0]
    assert run["updates"] > 0
    assert run["has"] == dict.fromkeys(run["has"], False)
    assert any("format 1" in notice for notice in page["notices"])
    assert render_report(make_page([FORMAT_1 / "run"]))


def test_a_sweep_of_format_1_is_shown():
    page = page_of(FORMAT_1 / "sweep")
    assert page["kind"] == "sweep"
    assert page["sweep"]["keys"] == ["training.learning_rate"]
    assert len(page["groups"]) == 3


def test_a_damaged_run_is_shown_as_far_as_it_can_be_read(tmp_path):
    write_run(tmp_path / "run", collapse=8)
    rows = tmp_path / "run" / "updates.jsonl"
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([*lines[:6], "{broken", *lines[7:]]) + "\n")
    page = page_of(tmp_path / "run")
    assert page["runs"][0]["updates"] == 5
    assert "updates.jsonl, line 7" in page["notices"][0]


def test_a_run_without_samples_is_shown_without_them(tmp_path):
    write_run(tmp_path / "run", collapse=8)
    (tmp_path / "run" / "samples.jsonl").unlink()
    page = make_page([tmp_path / "run"])
    assert page.content["runs"][0]["samples"]["updates"] == []
    assert "No sample has been recorded." in render_report(page)
    assert "samples.jsonl: No such file" in page.content["notices"][0]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["updates.jsonl", "samples.jsonl", "manifest.json", "config.yaml"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    write_run(tmp_path / "run", collapse=8)
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    page = page_of(tmp_path / "run")
    assert "a pipe" in str([page["left_out"], page["notices"]])


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml"])
def test_a_run_that_cannot_be_shown_is_left_out_with_the_reason(tmp_path, name):
    write_run(tmp_path / "bad", collapse=8)
    write_run(tmp_path / "good", collapse=8)
    (tmp_path / "bad" / name).write_text("[")
    page = page_of(tmp_path)
    assert [run["name"] for run in page["runs"]] == ["good"]
    assert [one["run"] for one in page["left_out"]] == ["bad"]
    assert "damaged" in page["left_out"][0]["reason"]


@pytest.mark.parametrize(
    "odd",
    [
        {"threads": None, "versions": [1], "processor": {"a": 1}, "started": 5},
        {"platform": {}, "inference": [], "git_commit": 7, "python": None},
        {"corpora": [{"name": "<x>", "sha256": "", "scored_tokens": "many", "licence": 3}]},
        {"model": {"reference": "", "sha256": "", "parameters": "many", "revision": 5}},
    ],
)
def test_whatever_else_a_manifest_says_the_run_is_shown(tmp_path, odd):
    write_run(tmp_path / "run", collapse=8)
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **odd}))
    assert "Collapsed at update 8" in render_report(make_page([tmp_path / "run"]))


@pytest.mark.parametrize("value", ["2020-01-01", "{1: 2}", "[[]]", ".nan", "null", "'a: b'", "x"])
@pytest.mark.parametrize("key", ["training", "seed", "precision", "collapse", "source", "sampling"])
def test_whatever_a_configuration_says_the_run_is_shown_or_left_out(tmp_path, key, value):
    write_run(tmp_path / "run", collapse=8)
    config = tmp_path / "run" / "config.yaml"
    lines = config.read_text().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"{key}:"))
    end = next(p for p in range(start + 1, len(lines) + 1) if p == len(lines) or lines[p][0] != " ")
    config.write_text("\n".join([*lines[:start], f"{key}: {value}", *lines[end:]]) + "\n")
    page = make_page([tmp_path / "run"])
    assert len(page.content["runs"]) + len(page.content["left_out"]) == 1
    assert render_report(page)


# --- a run that grows --------------------------------------------------------------------------


def append(folder, update, loss=1.0):
    row = Row(update, {"train.loss": loss, "text.loop_share": 0.0, "text.seq_rep_4": 0.0})
    record = Record(row, Batch((Text((0,), (1,), "own", f"new {update}"),)))
    with (folder / "samples.jsonl").open("a") as file:
        file.write(sample_line(record) + "\n")
    with (folder / "updates.jsonl").open("a") as file:
        file.write(json.dumps({"update": update, **row.values}) + "\n")


def test_only_runs_that_changed_are_told_and_their_new_rows_are_there(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, updates=5, status="running", seed=ord(name))
    maker = PageMaker([tmp_path], live=True)
    assert maker.refresh() == {"r0", "r1"}
    assert maker.refresh() == set()
    append(tmp_path / "b", 6)
    changed = maker.refresh()
    page = maker.page()
    assert len(changed) == 1
    run = next(run for run in page.content["runs"] if run["id"] in changed)
    assert (run["name"], run["updates"]) == ("b", 6)
    assert unpack(page.blocks[run["rows"]])["columns"]["train.loss"][-1] == 1


def test_a_line_that_is_half_written_counts_once_it_is_whole(tmp_path):
    write_run(tmp_path / "run", updates=5)
    maker = PageMaker([tmp_path / "run"])
    maker.refresh()
    rows = tmp_path / "run" / "updates.jsonl"
    with rows.open("a") as file:
        file.write('{"update": 6, "train.')
    maker.refresh()
    assert maker.page().content["runs"][0]["updates"] == 5
    with rows.open("a") as file:
        file.write('loss": 1.0}\n')
    assert maker.refresh() == {"r0"}
    assert maker.page().content["runs"][0]["updates"] == 6


def test_rows_that_a_resume_cut_are_gone(tmp_path):
    write_run(tmp_path / "run", updates=20)
    maker = PageMaker([tmp_path / "run"])
    maker.refresh()
    for name in ("updates.jsonl", "samples.jsonl"):
        path = tmp_path / "run" / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:8] if name == "updates.jsonl" else lines[:7]))
    append(tmp_path / "run", 8, loss=7.0)
    assert maker.refresh() == {"r0"}
    page = maker.page()
    assert unpack(page.blocks["rows-r0"])["update"] == list(range(9))
    assert unpack(page.blocks["rows-r0"])["columns"]["train.loss"][-1] == 7


def test_a_run_keeps_its_id_when_others_come_and_go(tmp_path):
    write_run(tmp_path / "b", seed=5)
    maker = PageMaker([tmp_path])
    maker.refresh()
    write_run(tmp_path / "a", seed=1)
    assert maker.refresh() == {"r1"}
    assert {run["name"]: run["id"] for run in maker.page().content["runs"]} == {
        "a": "r1",
        "b": "r0",
    }
    shutil.rmtree(tmp_path / "b")
    maker.refresh()
    assert [run["id"] for run in maker.page().content["runs"]] == ["r1"]


# --- several runs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    sweep(folder, {1e-5: [None, 20, 25], 1e-4: [8, 9, 10]})
    return make_page([folder])


def test_runs_that_differ_in_the_seed_alone_are_a_group(rates):
    assert [(g["label"], len(g["runs"])) for g in rates.content["groups"]] == [
        ("learning rate 1e-5", 3),
        ("learning rate 1e-4", 3),
    ]
    first = rates.content["runs"][0]
    assert first["label"] == "1e-5, seed 0"
    assert first["settings"] == {"training.learning_rate": "1e-05", "seed": "0"}


def test_the_headline_counts_collapses(rates):
    assert rates.content["headline"] == (
        "5 of 6 runs collapsed, between updates 8 and 25 (learning rate 1e-5: 2 of 3, between "
        "updates 20 and 25; learning rate 1e-4: 3 of 3, between updates 8 and 10)."
    )


def test_survival_curves_start_with_all_runs(rates):
    slow, fast = rates.content["sweep"]["survival"]
    assert (slow["time"], slow["survival"]) == ([0, 20, 25, 30], [1, 0.666667, 0.333333, 0.333333])
    assert (slow["censored"], slow["median"], fast["median"]) == ([30], 25, 9)
    assert slow["at_risk"] == [3, 3, 2, 1]


def test_a_phase_diagram_needs_two_keys_of_numbers(tmp_path):
    for rate in (1e-5, 1e-4):
        for temperature in (0.8, 1.0):
            write_run(
                tmp_path / f"{rate}-{temperature}",
                rate=rate,
                temperature=temperature,
                collapse=8 if rate > 1e-5 else None,
            )
    phase = page_of(tmp_path)["sweep"]["phase"]
    assert {phase["x"]: phase["xs"], phase["y"]: phase["ys"]} == {
        "sampling.temperature": ["0.8", "1"],
        "training.learning_rate": ["1e-5", "1e-4"],
    }
    assert sum(cell["collapsed"] for cell in phase["cells"]) == 2
    assert all(len(cell["runs"]) == 1 for cell in phase["cells"])


def test_a_cell_without_a_loop_tells_what_became_of_the_model(tmp_path):
    def validation(rate):
        return lambda update, corpus: 3 + 1e4 * rate * update / 10

    for rate in (1e-5, 1e-4):
        for temperature in (0.8, 1.0):
            place = tmp_path / f"{rate}-{temperature}"
            loops = 8 if temperature < 1 else None
            change = validation(rate)
            write_run(place, rate=rate, temperature=temperature, collapse=loops, validation=change)
    sweep = page_of(tmp_path)["sweep"]
    cells = sweep["phase"]["cells"]
    told = [(cell["ending"], cell["ended_so"], cell["median"]) for cell in cells]
    assert sorted(told, key=str) == [
        *(("drift", 1, None), ("loop", 1, 8), ("loop", 1, 8), ("none", 1, None)),
    ]
    assert max(cell["change"] for cell in cells) == pytest.approx(3)
    assert sweep["endings"]["states"] == ["drift", "mode", "loop", "noise", "shrink"]
    drift = [row["cells"][0] for row in sweep["endings"]["rows"]]
    assert sorted((cell["entered"], cell["first"] or 0) for cell in drift) == [
        *((0, 0), (0, 0), (1, 6), (1, 6)),  # a rise of .1 nats per update passes .5 at the sixth
    ]
    assert "1/1: 6" in render_report(make_page([tmp_path]))  # without scripts too


MEASURING = ("evaluation.tokens=512", "evaluation.every=5", "run.max_updates=40")


def test_what_only_measures_is_no_axis_and_is_not_told_where_labels_stay_apart(tmp_path):
    for name, rate, overrides in (("a", 1e-5, ()), ("b", 1e-4, MEASURING)):
        write_run(tmp_path / name, rate=rate, collapse=8, overrides=overrides)
    page = page_of(tmp_path)
    assert page["sweep"]["phase"] is None
    assert [run["label"] for run in page["runs"]] == ["1e-5, seed 0", "1e-4, seed 0"]
    assert [g["label"] for g in page["groups"]] == ["learning rate 1e-5", "learning rate 1e-4"]
    assert page["runs"][1]["settings"]["evaluation.tokens"] == "512"


def test_what_only_measures_is_told_where_nothing_else_sets_runs_apart(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", overrides=MEASURING[:1])
    labels = [g["label"] for g in page_of(tmp_path)["groups"]]
    assert labels[0] == "tokens 512"
    assert len(set(labels)) == 2


def test_more_than_two_values_stand_with_their_keys(tmp_path):
    write_run(tmp_path / "a", rate=1e-5)
    write_run(tmp_path / "b", rate=1e-4, temperature=1.0, length=64)
    labels = [run["label"] for run in page_of(tmp_path)["runs"]]
    assert (
        sorted(labels[0].split(", "))
        == sorted(["learning rate 1e-5", "temperature 0.8", "max new tokens 200", "seed 0"])
        or "max new tokens 64" in labels[0]
    )


def test_other_weights_are_another_group(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1)
    manifest = tmp_path / "b" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"sha256": "0"', '"sha256": "1"', 1))
    assert [g["label"] for g in page_of(tmp_path)["groups"]] == ["all runs", "all runs #2"]


def test_runs_that_were_degenerate_from_the_start_are_in_no_curve(tmp_path):
    sweep(tmp_path, {1e-5: [1, 20], 1e-4: [8, 9]})
    page = page_of(tmp_path)
    assert [curve["runs"] for curve in page["sweep"]["survival"]] == [1, 2]
    assert any("Degenerate before any training" in notice for notice in page["notices"])


def test_runs_that_have_not_ended_are_named(tmp_path):
    sweep(tmp_path, {1e-5: [None, 20], 1e-4: [8, 9]})
    write_run(tmp_path / "failed", rate=1e-4, seed=7, status="failed")
    page = page_of(tmp_path)
    assert [curve["runs"] for curve in page["sweep"]["survival"]] == [2, 2]
    assert any("Not ended by themselves" in notice for notice in page["notices"])


def test_one_path_given_twice_counts_once(tmp_path):
    write_run(tmp_path / "run")
    assert len(page_of(tmp_path / "run", tmp_path, tmp_path / "run")["runs"]) == 1


def test_paths_without_a_run_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, told in (("empty", "no run"), ("file", "a file"), ("gone", "no such folder")):
        with pytest.raises(UserError, match=told):
            make_page([tmp_path / name])


# --- HTML --------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """Headings, ids, scripts and whatever a page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.ids, self.fetched, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.ids += [found["id"]] if "id" in found else []
        self.fetched += [found[key] for key in ("src", "href") if key in found]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    place = tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(1)> {{ 7*7 }}"
    text = f'"><img onerror=alert(1)></script>{HOSTILE} {{{{ 7*7 }}}} {"x" * 5000}'
    write_run(place, collapse=8, text=text, corpora=("</script><b>",))
    return render_report(make_page([place]))


def test_hostile_names_and_texts_stand_in_a_page_as_text(hostile_page):
    found = Outline(hostile_page)
    assert "img" not in found.tags
    assert "b" not in found.tags
    assert hostile_page.count("{{ 7*7 }}") >= 5  # of the name of the run, and of its texts
    assert html.escape('"><img onerror=alert(1)></script>', quote=False)[2:] in hostile_page


def test_a_page_fetches_nothing(hostile_page):
    assert all(place.startswith(("#", "data:")) for place in Outline(hostile_page).fetched)


def test_the_policy_allows_the_scripts_of_the_page_and_no_other(hostile_page):
    told = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', hostile_page)[1])
    scripts = re.findall(r"<script>(.*?)</script>", hostile_page, flags=re.S)
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    allowed = re.search(r"script-src ([^;]*);", told)[1]
    assert allowed.split() == (hashes or ["'none'"])
    assert "default-src 'none'" in told
    assert "connect-src 'none'" in told


def test_headings_go_down_by_one_and_ids_are_unique(hostile_page, rates):
    for page in (hostile_page, render_report(rates)):
        found = Outline(page)
        assert found.headings[0] == 1
        assert found.headings.count(1) == 1
        pairs = zip(found.headings, found.headings[1:], strict=False)
        assert all(after <= before + 1 for before, after in pairs)
        assert len(set(found.ids)) == len(found.ids)


def test_a_page_says_its_gist_without_scripts(rates):
    page = re.sub(r"<script.*?</script>", "", render_report(rates), flags=re.S)
    text = html.unescape(page)
    assert rates.content["headline"] in text
    for run in rates.content["runs"]:
        assert run["verdict"] in text
    for run in rates.content["runs"]:
        assert run["command"] in text
    assert page.count("<svg") == 5
    assert 'aria-label="Share of runs that have not collapsed, by update"' in page
    assert "Update 8: collapse" in text or "Update 20: collapse" in text


def test_assets_and_page_stay_below_600_kb_without_data(tmp_path):
    write_run(tmp_path / "run", updates=1)
    assert len(render_report(make_page([tmp_path / "run"])).encode()) < 600_000


def test_the_page_of_a_view_names_its_scripts_and_holds_no_data(rates):
    page = render_view(rates, assets="/assets/")
    fetched = [place for place in Outline(page).fetched if place.startswith("/")]
    assert {place for place in fetched if "assets" in place} == {
        f"/assets/{name}" for name in render.asset_names()
    }
    assert "data-block" not in page
    assert "<script>" not in page


def test_a_chart_spans_its_points():
    assert ticks(0, 12, whole=True) == [0, 2, 4, 6, 8, 10, 12]
    assert ticks(3.0, 3.0)[0] < 3 < ticks(3.0, 3.0)[-1]
    assert ticks(1e17, 1e17)[0] < 1e17 < ticks(1e17, 1e17)[-1]
    assert ticks(0, 5e-324)[0] < 0 < ticks(0, 5e-324)[-1]
    assert ticks(0, 1e-12)[-1] == pytest.approx(1e-12)
    drawn = chart("a <b>", [Line("x & y", [(0, 1), (5, 2)], 0)], "update", "nats")
    assert "a &lt;b&gt;" in drawn
    assert "x &amp; y" in drawn
    assert chart("nothing", [Line("x", [], 0)], "", "") == ""


def test_a_loss_beyond_all_scales_leaves_the_rest_of_its_figure():
    far = chart("t", [Line("a", [(0, -1e308), (1, 3.0), (2, 1e308), (3, 4.0)], 0)], "x", "y")
    assert far == chart("t", [Line("a", [(1, 3.0), (3, 4.0)], 0)], "x", "y")
    assert chart("t", [Line("a", [(0, 1e308)], 0)], "x", "y") == ""


# --- the command, and the page at the end of a run ---------------------------------------------


def test_the_command_writes_the_page_into_the_only_path(tmp_path):
    write_run(tmp_path / "run", collapse=8)
    done = call("report", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"report {tmp_path}/run/report.html  1 run, \d+ kB\n", done.stdout)
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")


def test_the_command_writes_where_it_is_told_and_names_what_it_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, collapse=8, seed=ord(name))
    (tmp_path / "c" / "manifest.json").write_text("{}")
    shown = call_here("report", "a", "b", "c", "-o", "pages/all.html")
    assert "left out: 1 run, which the page names with the reason" in shown.out
    assert "report pages/all.html  2 runs" in shown.out
    assert (tmp_path / "pages" / "all.html").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [(["gone"], "no such folder"), (["run", "-o", "."], "the name of a file"), ([], "PATH")],
)
def test_bad_input_of_the_command_is_refused(tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    shown = call_here("report", *words)
    assert shown.code == 2
    assert told in shown.err


def test_a_run_writes_its_page_at_the_end_and_names_it(tiny_overrides, tmp_path):
    done = call("run", "quickstart", *settings(tiny_overrides), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"report {tmp_path}/run/report.html" in done.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert str(tmp_path) not in page


def test_a_run_without_run_report_writes_none(tiny_overrides, tmp_path):
    collapse_lm.run("quickstart", tmp_path / "run", overrides=[*tiny_overrides, "run.report=false"])
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_page_that_cannot_be_made_stops_no_run(tiny_overrides, tmp_path, monkeypatch, caplog):
    def fail(*given):
        raise RuntimeError("no page today")

    monkeypatch.setattr("collapse_lm.report.page.write.write_report", fail)
    result = collapse_lm.run("quickstart", tmp_path / "run", overrides=tiny_overrides)
    assert result.summary["status"] == "finished"
    assert "no page today" in caplog.text


def test_a_page_of_an_earlier_end_does_not_outlive_it(tiny_overrides, tmp_path):
    out = tmp_path / "run"
    collapse_lm.run("quickstart", out, overrides=[*tiny_overrides, "run.max_updates=2"])
    assert "No collapse in 2 updates" in (out / "report.html").read_text()
    collapse_lm.resume(out, overrides=["run.max_updates=3"])
    assert "No collapse in 3 updates" in (out / "report.html").read_text()
    (out / "report.html").unlink()
    collapse_lm.resume(out)  # the run is over; its page is not there
    assert (out / "report.html").is_file()


def test_a_sweep_has_one_page_and_its_runs_none(tiny_overrides, tmp_path):
    fixed = dict(word.split("=", 1) for word in tiny_overrides)
    fixed["evaluation.corpora"] = fixed["evaluation.corpora"].strip("[]")
    del fixed["training.learning_rate"]
    fixed["run.max_updates"] = 2
    spec = {"set": fixed, "grid": {"training.learning_rate": [1e-3, 3e-3]}, "seeds": 1}
    result = collapse_lm.sweep(spec, tmp_path / "sweep", threads=1)
    assert result.is_complete
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "learning rate 0.001" in page
    assert not any((run.path / "report.html").exists() for run in result.runs)


def test_a_written_report_tells_its_size(tmp_path):
    write_run(tmp_path / "run")
    written = write_report([tmp_path / "run"], tmp_path / "page.html")
    assert written.size == (tmp_path / "page.html").stat().st_size
    assert (written.runs, written.left_out) == (1, 0)


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_a_page_is_opened_on_a_display_and_never_in_ci(monkeypatch, variable):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    monkeypatch.setenv(variable, ":0")
    assert has_display()
    monkeypatch.setenv("CI", "true")
    assert not has_display()


def test_claims_that_nest_without_end_leave_the_page_as_it_is(tmp_path):
    write_run(tmp_path / "runs" / "a", updates=3)
    (tmp_path / "sweep.yaml").write_text("base: quickstart\n")
    (tmp_path / "claims.json").write_text("[" * 100_000)
    assert make_page([tmp_path]).content["sweep"]["claims"] == []
