"""`collapse-lm audit`: formats of others, exit codes, broken lines, and the blocks of its page."""

import json
import os
import random
import re
import shlex
from pathlib import Path

import pytest
from run_dirs import HOSTILE, write_run
from typer.testing import CliRunner

import collapse_lm
from collapse_lm import UserError
from collapse_lm.audits.sources.choose import source_of
from collapse_lm.cli.main import app

from conftest import PROSE, byte_tokenizer, tiny_gpt2

PAGE = Path(__file__).parents[1] / "docs" / "audit.md"


def invoke(*words):
    """The exit code and what was printed; our own errors are raised."""
    done = CliRunner().invoke(app, ["audit", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def spoken(seed, count=20):
    chance = random.Random(seed)
    return " ".join(f"{chance.choice(PROSE.split())} {chance.randrange(99)}" for _ in range(count))


def texts(source):
    return [(entry.group, entry.text) for entry in source]


# --- formats -----------------------------------------------------------------------------------


def test_json_lines_name_their_text_and_their_groups(tmp_path):
    said = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    kinds = {
        "plain": ({"text": "A", "id": 1}, None),
        "response": ({"prompt": "Q", "response": "A", "step": 3}, 3),
        "talk": ({"messages": said, "step": 3.0}, 3),
        "sharegpt": (
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            None,
        ),
        "completion": ({"prompt": said[:1], "completion": said[1:], "step": "late"}, "late"),
    }
    for name, (row, group) in kinds.items():
        assert texts(source_of([write(tmp_path / f"{name}.jsonl", [row])])) == [(group, "A")]
    row = {"text": "no", "mine": "A", "epoch": 2}
    source = source_of([write(tmp_path / "own.jsonl", [row])], "mine", "epoch")
    assert texts(source) == [(2, "A")]
    assert source.told == "JSON lines, 1 file, text in 'mine', groups by 'epoch'"
    with pytest.raises(UserError, match="did you mean mine"):
        source_of([tmp_path / "own.jsonl"], "mein")
    with pytest.raises(UserError, match="name it with --text"):
        source_of([write(tmp_path / "none.jsonl", [{"words": "A"}])])


def test_lines_without_steps_are_dealt_in_their_order(tmp_path):
    rows = [{"text": str(number)} for number in range(200)]
    source = source_of([write(tmp_path / "a.jsonl", rows)])
    assert [group for group, _ in texts(source)] == [1] * 67 + [2] * 67 + [3] * 66
    assert "groups of 67 lines in the order of the file" in source.told
    few = source_of([write(tmp_path / "b.jsonl", rows[:127])])
    assert {group for group, _ in texts(few)} == {None}


def test_steps_stand_in_the_order_of_their_numbers_and_words_as_they_come(tmp_path, tokenizer):
    rows = [{"step": step, "text": spoken(step)} for step in (10, 9, 2, 10)]
    found = collapse_lm.audit(write(tmp_path / "a.jsonl", rows), tokenizer=tokenizer, human=None)
    assert [group.name for group in found.groups] == ["2", "9", "10"]
    assert [group.update for group in found.groups] == [2, 9, 10]
    rows = [{"step": step, "text": spoken(step)} for step in ("z", "a", "z")]
    found = collapse_lm.audit(write(tmp_path / "b.jsonl", rows), tokenizer=tokenizer, human=None)
    assert [(group.name, group.update) for group in found.groups] == [("z", 1), ("a", 2)]


def test_text_files_are_one_text_each(tmp_path):
    for name in ("step-9.txt", "step-10.txt", "step-1.txt", ".hidden.txt"):
        write(tmp_path / "flat" / name, [name])
        write(tmp_path / "deep" / name.removesuffix(".txt") / "a.txt", [name])
    flat = source_of([tmp_path / "flat"])
    assert texts(flat) == [(None, f"step-{number}.txt\n") for number in (1, 9, 10)]
    assert "--by file makes each file one" in flat.told
    by_file = source_of([tmp_path / "flat"], by="file")
    assert [group for group, _ in texts(by_file)] == ["step-1.txt", "step-9.txt", "step-10.txt"]
    deep = source_of([tmp_path / "deep"])
    assert [group for group, _ in texts(deep)] == ["step-1", "step-9", "step-10"]
    with pytest.raises(UserError, match="texts without columns"):
        source_of([tmp_path / "flat"], by="step")


def test_verl_s_rollouts_as_its_writer_leaves_them(tmp_path):
    """By schema: verl/trainer/ppo/ray_trainer.py, _dump_generations (commit b178a3c)."""
    for step in (1, 2, 10):
        row = {"input": "Q", "output": f"A{step}", "gts": None, "score": 0.5, "step": step}
        write(tmp_path / f"{step}.jsonl", [row | {"acc": 1.0}] * 2)
    source = source_of([tmp_path])
    assert source.told.startswith("verl rollouts (JSON lines), 3 files, text in 'output'")
    assert texts(source) == [(step, f"A{step}") for step in (1, 2, 10) for _ in range(2)]
    assert next(iter(source)).prompt == "Q"


@pytest.fixture(scope="module")
def trl_folder(tmp_path_factory):
    """What trl's own trainer leaves, of texts and of conversations."""
    pytest.importorskip("trl")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        folders = {}
        for kind, prompt in (("plain", "Hi"), ("talk", [{"role": "user", "content": "Hi"}])):
            tokenizer = byte_tokenizer()
            tokenizer.pad_token = tokenizer.eos_token
            tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
            folders[kind] = tmp_path_factory.mktemp("trl") / kind
            trainer = GRPOTrainer(
                model=tiny_gpt2(),
                reward_funcs=lambda completions, **told: [
                    float(i) for i, _ in enumerate(completions)
                ],
                args=GRPOConfig(
                    output_dir=str(folders[kind]),
                    per_device_train_batch_size=4,
                    num_generations=4,
                    max_completion_length=12,
                    max_steps=2,
                    logging_steps=1,
                    log_completions=True,
                    num_completions_to_print=0,
                    report_to=[],
                    use_cpu=True,
                    bf16=False,
                    save_strategy="no",
                    disable_tqdm=True,
                ),
                train_dataset=Dataset.from_dict({"prompt": [prompt] * 8}),
                processing_class=tokenizer,
            )
            trainer.train()
    return folders


@pytest.mark.parametrize("kind", ["plain", "talk"])
def test_trl_s_completions_as_trl_wrote_them(trl_folder, kind, tokenizer):
    found = collapse_lm.audit(trl_folder[kind], tokenizer=tokenizer, human=None)
    assert found.source.startswith("completions of trl (Parquet), 2 files, text in 'completion'")
    assert [(g.name, g.values["texts.count"]) for g in found.groups] == [("1", 4), ("2", 4)]
    assert all(group.values["probe.length"] > 1 for group in found.groups)
    assert next(iter(source_of([trl_folder[kind] / "completions"]))).prompt == "Hi"


def test_parquet_needs_its_extra_and_a_broken_file_is_skipped(trl_folder, tmp_path, monkeypatch):
    whole = next((trl_folder["plain"] / "completions").glob("*.parquet")).read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.parquet").write_bytes(whole)
    source = source_of([tmp_path])
    assert len(texts(source)) == 4
    assert (source.broken.count, source.broken.named[0][:11]) == (1, "1.parquet: ")
    with pytest.raises(UserError, match=r"1.parquet: "):
        source_of([tmp_path / "1.parquet"])
    monkeypatch.setattr("collapse_lm.audits.sources.tables.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'collapse-lm\[parquet\]'"):
        source_of([tmp_path])


def test_what_goes_together_is_of_one_format(tmp_path):
    write(tmp_path / "a.jsonl", [{"text": "A"}])
    write(tmp_path / "b.txt", ["A"])
    write(tmp_path / "c.json", ["[{}]"])
    with pytest.raises(UserError, match=r"1 \.jsonl and 1 \.txt"):
        source_of([tmp_path / "a.jsonl", tmp_path / "b.txt"])
    with pytest.raises(UserError, match="jq -c"):
        source_of([tmp_path / "c.json"])
    with pytest.raises(UserError, match="No such file"):
        source_of([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no such file"):
        source_of([tmp_path / "empty"])


# --- broken lines ------------------------------------------------------------------------------


def test_a_broken_line_is_named_and_skipped(tmp_path, tokenizer):
    rows = [{"text": spoken(number)} for number in range(3)]
    broken = ["{", "[1]", '{"text": 7}', '{"other": "x"}', '{"text": ' + "[" * 9999]
    path = write(tmp_path / "a.jsonl", [*rows, *broken, "", rows[0]])
    with path.open("ab") as file:
        file.write(b'{"text": "\xff"}\n')
    code, told = invoke(path, "--tokenizer", tokenizer, "--human", "none")
    assert code == 0
    assert "4 texts" in told
    assert "skipped 6 that could not be read: a.jsonl, line 4: no JSON" in told
    assert "a.jsonl, line 7: no 'text'" in told
    assert "a.jsonl, line 11: byte 10 is not UTF-8" in told


@pytest.mark.parametrize("number", ["1" + "0" * 400, "Infinity", "-Infinity", "NaN"])
def test_a_step_that_is_no_number_of_a_step_is_a_broken_line(number, tmp_path, tokenizer):
    rows = [{"step": 1, "text": spoken(1)}, f'{{"step": {number}, "text": "one two"}}']
    code, told = invoke(
        write(tmp_path / "a.jsonl", rows), "--tokenizer", tokenizer, "--human", "none"
    )
    assert code == 0
    assert "skipped 1 that could not be read: a.jsonl, line 2: 'step' is no number" in told


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "txt"])
def test_what_is_no_file_in_a_folder_is_named_and_skipped(suffix, tmp_path, tokenizer):
    folder = tmp_path / "texts"
    folder.mkdir()
    os.mkfifo(folder / f"b.{suffix}")
    (folder / f"c.{suffix}").symlink_to(tmp_path / "nowhere")
    (folder / f"d.{suffix}").mkdir()
    if suffix == "jsonl":
        write(folder / "A.JSONL", [{"text": spoken(1)}, {"text": spoken(2)}])
    elif suffix == "txt":
        (folder / "A.TXT").write_text(spoken(1), "utf-8")
    else:
        table = pytest.importorskip("pyarrow").table({"text": [spoken(1)]})
        pytest.importorskip("pyarrow.parquet").write_table(table, folder / "A.PARQUET")
    code, told = invoke(folder, "--tokenizer", tokenizer, "--human", "none")
    assert code == 0
    assert "skipped 2 that could not be read: b." in told
    assert "a pipe, a socket or a device" in told
    assert f"c.{suffix}: " in told


def test_nothing_that_can_be_read_is_bad_input(tmp_path, tokenizer):
    with pytest.raises(UserError, match=r"a.jsonl, line 1: no JSON"):
        invoke(write(tmp_path / "a.jsonl", ["{", "{"]), "--tokenizer", tokenizer)
    with pytest.raises(UserError, match=r"b.jsonl, line 1: 'text' is null"):
        invoke(write(tmp_path / "b.jsonl", ['{"text": null}']), "--tokenizer", tokenizer)
    assert UserError.exit_code == 2


def test_hostile_names_and_texts_reach_no_terminal(tmp_path, tokenizer):
    rows = [{"step": HOSTILE, "text": HOSTILE * 5}, {"step": "b", "text": spoken(1)}]
    path = write(tmp_path / "a.jsonl", [*rows, "{\x1b[2J"])
    page = tmp_path / "page.html"
    code, told = invoke(path, "--tokenizer", tokenizer, "--human", "none", "-o", page)
    assert code == 0
    assert "\x1b" not in told
    assert "\\x1b[2Jgone" in told
    assert "<script>alert(1)" not in page.read_text("utf-8")


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def looping(tmp_path_factory):
    rows = [
        {"step": step, "text": "so on " * 30 if step > 3 else spoken(f"{step}-{number}")}
        for step in range(1, 7)
        for number in range(6)
    ]
    return write(tmp_path_factory.mktemp("texts") / "a.jsonl", rows)


def test_exit_code_3_is_for_what_was_named(looping, tokenizer):
    words = (looping, "--tokenizer", tokenizer, "--human", "none")
    assert invoke(*words)[0] == 0
    assert invoke(*words, "--fail-on", "shrink")[0] == 0
    assert invoke(*words, "--fail-on", "shrink, loop")[0] == 3
    for wrong, told in (("lop", "did you mean loop"), ("drift", "some of"), ("noise", "--model")):
        with pytest.raises(UserError, match=told):
            invoke(*words, "--fail-on", wrong)
    with pytest.raises(UserError, match="a model has its own"):
        invoke(*words, "--model", "x")


def test_json_has_all_that_was_found(looping, tokenizer):
    code, told = invoke(looping, "--tokenizer", tokenizer, "--human", "none", "--json")
    found = json.loads(told)
    assert code == 0
    assert found["states"]["loop"] == "4"
    assert [group["group"] for group in found["groups"]] == ["1", "2", "3", "4", "5", "6"]
    assert found["groups"][3]["probe.degenerate_share"] == 1


def test_many_groups_are_thinned_in_the_table_and_the_onset_stays(tmp_path, tokenizer):
    rows = [
        {"step": step, "text": "so on " * 30 if step >= 78 else spoken(step)}
        for step in range(1, 101)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    _, told = invoke(path, "--tokenizer", tokenizer, "--human", "none")
    shown = [line.split()[0] for line in told.splitlines() if re.match(r"\d+  ", line)]
    assert len(shown) <= 22
    assert {"1", "78", "100"} <= set(shown)


def test_a_record_is_listed_and_its_place_must_be_free(looping, tokenizer, tmp_path):
    out = tmp_path / "r"
    words = (looping, "--tokenizer", tokenizer, "--human", "none", "--out", out)
    assert f"record {out}" in invoke(*words)[1]
    listed = CliRunner().invoke(app, ["ls", str(tmp_path), "--json"])
    (row,) = json.loads(listed.output)
    assert (row["source"], row["collapse_update"], row["updates"]) == ("audit", 4, 6)
    with pytest.raises(UserError, match="--out"):
        invoke(*words)


# --- the page ----------------------------------------------------------------------------------


def blocks():
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def told_in_docs(tmp_path_factory, trl_folder):
    """Run every block of docs/audit.md in a folder that holds what it names; return outputs."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "outputs").mkdir()
    (folder / "outputs" / "completions").symlink_to(trl_folder["plain"] / "completions")
    for step in (1, 2):
        row = {"input": "Q", "output": spoken(step), "score": 1.0, "step": step}
        write(folder / "rollouts" / f"{step}.jsonl", [row])
        write(folder / "samples" / f"step-{step}.txt", [spoken(step)])
    write_run(folder / "runs" / "mine", updates=3)
    tiny_gpt2().save_pretrained(folder / "my-model")
    byte_tokenizer().save_pretrained(folder / "my-model")
    told = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, block in blocks():
            if language == "python":
                exec(compile(block, str(PAGE), "exec"), {})
            for line in block.splitlines() if language == "bash" else ():
                told[line] = invoke(*shlex.split(line)[2:])
    return told


def test_every_block_of_the_page_runs(told_in_docs):
    assert {kind for kind, _ in blocks()} == {"python", "bash", "text"}
    codes = {line: code for line, (code, _) in told_in_docs.items()}
    assert len(codes) == 7
    first, *rest = codes
    assert codes[first] == 3
    assert [codes[line] for line in rest] == [0] * 6


def test_the_output_on_the_page_is_what_the_command_prints(told_in_docs):
    (shown,) = [block for kind, block in blocks() if kind == "text"]
    assert shown == next(iter(told_in_docs.values()))[1]
